"""Rules for arguments, one wording each.

Every error names the argument, the rule, the value received and the likely fix.
"""
