"""`ldas explore`: a store in the browser. `content`: what it has; `choice`: what is shown of it; `maps`, `series`: what
is read for that; `taken`: the same as files; `pictures`, `page`: drawn by HoloViews and Panel, which only they import.
"""
