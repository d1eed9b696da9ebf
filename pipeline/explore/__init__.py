"""`ldas explore`: a store seen in the browser. `content`: what it has; `choice`: what is shown of it; `values`: what is
read for that; `pictures` and `page` draw it with HoloViews and Panel, which only they import."""
