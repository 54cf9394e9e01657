"""What many companies have instead: a script that makes a target equal to a YAML file.

Usage: script.py FILE PORT. No record, no retry, no limits; the standard library and PyYAML.
"""
import http.client
import json
import sys

import yaml

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
USER = "urn:ietf:params:scim:schemas:core:2.0:User"


def account_of(document):
    spec = document["spec"]
    return {
        "externalId": document["metadata"]["name"],
        "userName": spec["email"],
        "active": spec["active"],
        "title": spec["attributes"]["title"],
        "name": {"givenName": spec["givenName"], "familyName": spec["familyName"]},
        "emails": [{"value": spec["email"], "type": "work", "primary": True}],
    }


def main(file, port):
    wire = http.client.HTTPConnection("127.0.0.1", int(port))

    def send(method, path, body=None):
        wire.request(method, path, json.dumps(body) if body else None, {"content-type": "application/scim+json"})
        answer = wire.getresponse()
        text = answer.read()
        if answer.status >= 300:
            raise SystemExit(f"{method} {path}: {answer.status}")
        return json.loads(text)

    with open(file, encoding="utf-8") as text:
        declared = {d["spec"]["email"]: account_of(d) for d in yaml.load_all(text, LOADER) if d}
    observed, start = {}, 1
    while True:
        page = send("GET", f"/scim/v2/Users?startIndex={start}&count=1000")
        observed.update((row["userName"], row) for row in page["Resources"])
        start += len(page["Resources"])
        if not page["Resources"] or start > page["totalResults"]:
            break
    sent = 0
    for name, want in declared.items():
        have = observed.pop(name, None)
        if have is None:
            send("POST", "/scim/v2/Users", {"schemas": [USER], **want})
            sent += 1
            continue
        changed = [{"op": "replace", "path": key, "value": value} for key, value in want.items() if have.get(key) != value]
        if changed:
            send("PATCH", f"/scim/v2/Users/{have['id']}", {"schemas": [PATCH], "Operations": changed})
            sent += 1
    for row in observed.values():
        off = [{"op": "replace", "path": "active", "value": False}]
        send("PATCH", f"/scim/v2/Users/{row['id']}", {"schemas": [PATCH], "Operations": off})
        sent += 1
    print(sent)


main(*sys.argv[1:])
