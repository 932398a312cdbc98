"""A sweep: every model that a team mirrors, each audited once a revision, and nothing lost on the way.

listing -> store -> engine -> store -> export. The store is the truth: a sweep that was ended goes on from it, and what
did not change is not read again. Only the driver writes it; engines run audits, wherever they like.

What would compare swept models with one another (their ancestry) reads finished results from the store, as `export`
and `pages` do; nothing here knows of it.
"""
