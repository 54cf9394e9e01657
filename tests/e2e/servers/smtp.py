#!/usr/bin/env python3
"""A mail server for the tests: what it takes becomes one JSON object a line.

    smtp.py MODE PORT OUT CERTIFICATE KEY USER PASSWORD

MODE is `starttls` (nothing is taken before STARTTLS and sign-in), `tls` (encrypted from the first byte) or
`plain` (offers neither). A recipient with `reject` in it is refused for good, one with `later` for the first
time it is named.
"""
import asyncio
import email
import email.policy
import json
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

mode, port, out, certificate, key, user, password = sys.argv[1:8]
context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
context.load_cert_chain(certificate, key)
put_off = set()


def authenticate(server, session, envelope, mechanism, data):
    good = isinstance(data, LoginPassword) and (data.login.decode(), data.password.decode()) == (user, password)
    # `handled` would have us answer ourselves.
    return AuthResult(success=good, handled=False)


class Keep:
    async def handle_RCPT(self, server, session, envelope, address, options):
        if "reject" in address:
            return "550 5.1.1 no such mailbox"
        if "later" in address and address not in put_off:
            put_off.add(address)
            return "451 4.7.1 try again"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
        plain, html = mail.get_body(("plain",)), mail.get_body(("html",))
        kept = {
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "encrypted": session.ssl is not None or mode == "tls",
            "signed_in": bool(session.authenticated),
            "headers": {name: str(value) for name, value in mail.items()},
            "text": plain.get_content() if plain else None,
            "html": html.get_content() if html else None,
        }
        with open(out, "a", encoding="utf-8") as file:
            file.write(json.dumps(kept) + "\n")
        return "250 2.0.0 taken"


def session():
    guarded = mode != "plain"
    return SMTP(
        Keep(),
        hostname="mail.test",
        enable_SMTPUTF8=True,
        tls_context=context if mode == "starttls" else None,
        require_starttls=mode == "starttls",
        authenticator=authenticate if guarded else None,
        auth_required=guarded,
        auth_require_tls=mode == "starttls",
    )


async def main():
    server = await asyncio.get_running_loop().create_server(
        session, "127.0.0.1", int(port), ssl=context if mode == "tls" else None
    )
    print("ready", flush=True)
    async with server:
        await server.serve_forever()


asyncio.run(main())
