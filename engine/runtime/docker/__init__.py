"""The runtime on Docker: the only room that talks to a daemon, by the rules of docs/protocol.rst.

`runtime` is the entrance; its verbs are in `prepare`, `follow` and `cleanup`. `sandbox` is the other half of the port.
`client`, `fast_client` and `http` make the connection; `messages` recognises Docker's error messages.
"""
