"""Names of people: asked of the host when an answer is made, and never stored or logged.

`Directory` is what the server asks, `host.router` what a host application answers with.
"""
