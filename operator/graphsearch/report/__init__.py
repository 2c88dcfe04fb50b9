"""Pictures and tables of a search: one page that works offline, its pictures, the recipe and the weights.

It draws from recorded facts alone and must not know how they came about; a search that failed, was cancelled or
still runs has a report as well.
"""
