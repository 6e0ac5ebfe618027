# C only; `_hub` uses it.
