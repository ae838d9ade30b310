"""What travels: request and answer bodies, named as the API names their members.

A member whose type has None is always written, as null when unknown. A member whose default is UNSET is left
out when unknown.
"""
