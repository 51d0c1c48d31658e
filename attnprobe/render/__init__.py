"""Pictures, tables and character charts of attention, for reports, pages and terminals.

The modules of pictures import matplotlib; this package and the modules of tables do not. Every
function here makes text from users harmless, whatever the text contains.
"""
