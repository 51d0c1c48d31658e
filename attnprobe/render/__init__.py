"""Pictures, tables and character charts of attention, ready for a report, a page or a terminal.

Importing this package loads nothing: `heatmap` and `style` need matplotlib, the others do not.
Text from users may hold anything; every function here makes it harmless by itself.
"""
