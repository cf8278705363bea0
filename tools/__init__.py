"""The workshop: what turns lesson sources into notebooks and notebooks into a reading site.

Nothing here is part of the installed package; run the scripts from a checkout: ``python tools/build.py``.
"""
