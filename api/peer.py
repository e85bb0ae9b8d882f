"""Account at the other end of a loopback connection, as the kernel tells it (sock_diag of Linux).

Of an established connection between two processes of one host, the kernel knows both sockets and who opened each.
"""

from __future__ import annotations

import ipaddress
import socket
import struct

_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_NLM_F_REQUEST = 1
_TCP_ESTABLISHED = 1
_TIMEOUT_SECONDS = 2.0

_HEADER = struct.Struct("=IHHII")
#: inet_diag_req_v2 up to the id of the socket: family, protocol, extensions, states.
_REQUEST = struct.Struct("=BBBxI")
#: Interface and cookie of the id: any.
_ANY = struct.pack("=III", 0, 0xFFFFFFFF, 0xFFFFFFFF)
#: inet_diag_msg: family and state, id of the socket, expiry, two queues, uid, inode.
_ANSWER = struct.Struct("=BBxx4s16s16s12xIIIII")


def uid_of(connection: socket.socket) -> int | None:
    """Return the uid of the account that opened the other end of this connection.

    None when it is not an established connection on loopback. The socket of a client that has closed it is without an
    inode and reads uid 0, so only an open one counts.
    """
    try:
        local, remote = connection.getsockname(), connection.getpeername()
        here, there = _unmapped(local[0]), _unmapped(remote[0])
        if not (here.is_loopback and there.is_loopback):
            return None
        family = socket.AF_INET if there.version == 4 else socket.AF_INET6
        # The id of the client's socket: its own port and address come first.
        ports = struct.pack("!HH", remote[1], local[1])
        id = ports + there.packed.ljust(16, b"\0") + here.packed.ljust(16, b"\0")
        answer = _ask(_REQUEST.pack(family, socket.IPPROTO_TCP, 0, 1 << _TCP_ESTABLISHED) + id + _ANY)
    except OSError:
        return None
    if answer is None:
        return None
    family, state, its_ports, its_address, its_server, _, _, _, uid, inode = _ANSWER.unpack(answer)
    # A client may reach an IPv4 address through a socket of IPv6; the kernel then spells both addresses as IPv6.
    size = 4 if family == socket.AF_INET else 16
    ends = [_unmapped(address[:size]) for address in (its_address, its_server)]
    is_this = its_ports == ports and ends == [there, here]
    return int(uid) if is_this and state == _TCP_ESTABLISHED and inode else None


def _unmapped(address: str | bytes) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    parsed = ipaddress.ip_address(address)
    return getattr(parsed, "ipv4_mapped", None) or parsed


def _ask(request: bytes) -> bytes | None:
    """Return the kernel's answer about one socket, None when it has none. Raises OSError."""
    size = _HEADER.size + len(request)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as netlink:
        netlink.settimeout(_TIMEOUT_SECONDS)
        netlink.send(_HEADER.pack(size, _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, 1, 0) + request)
        answer = netlink.recv(4096)
    kind = _HEADER.unpack_from(answer)[1]
    whole = len(answer) >= _HEADER.size + _ANSWER.size
    return answer[_HEADER.size :][: _ANSWER.size] if kind == _SOCK_DIAG_BY_FAMILY and whole else None
