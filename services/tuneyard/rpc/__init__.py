"""What every server of ours shares at its edge: errors, field rules, interceptors, names, logging.

The only package that knows status codes. It knows no job, no store and no family.
"""
