#!/usr/bin/python3
"""Reads a sealed store without Lockset: what a customer needs who has a copy of STORE/ORG and the KMS key, and nothing else.

    read_sealed.py FOLDER --region us-west-2 [--profile P] [--endpoint-url URL] [--bucket B | --s3] [--list | --to FOLDER]

FOLDER is STORE/ORG, or a copy of what a bucket holds below the prefix of the organization. --list prints size, ETag and key of every object; --to writes each one's content to a file named by its key,
percent-encoded (a long one shortened, with a hash). Without either, everything is opened and verified. Exit code 0: all of it
verified."""
import argparse
import base64
import hashlib
import json
import pathlib
import sys
import urllib.parse

import sealed
from sealed import OBJECT, PART, UPLOAD, Keys, Record, Refused, require


def unwrap(folder, region, kms, bucket="lockset"):
    """Has KMS unwrap every key beside the data. `kms` is a client with the customer's own credentials."""
    folder = pathlib.Path(folder)
    branches, names = {}, None
    for path in sorted((folder / "keys").glob("*.json")):
        file = json.loads(path.read_text())
        if file["region"] != region:
            continue
        identity = "lockset:branch" if file["kind"] == "branch" else "lockset:names"
        wanted = {"lockset:org": folder.name, "lockset:region": region, identity: path.stem}
        require(file["version"] == 1 and file["org"] == folder.name and file["encryption_context"] == wanted,
                f"{path} is the wrapped key of something else")
        plain = kms.decrypt(KeyId=file["kms_key_arn"], CiphertextBlob=base64.b64decode(file["wrapped"], validate=True),
                            EncryptionContext=wanted)["Plaintext"]
        require(len(plain) == 32, f"{path} holds {len(plain)} bytes")
        if file["kind"] == "branch":
            branches[bytes.fromhex(path.stem)] = plain
        else:
            names = plain
    require(names and branches, f"{folder}/keys does not hold a name key and branch keys")
    return Keys(folder.name, region, branches, names, bucket)


class Object:
    """One object, as its file name tells it. content() opens everything that belongs to it."""

    def __init__(self, store, path, key, summary, tag):
        self.store, self.path, self.key, self.summary, self.tag = store, path, key, summary, tag

    def record(self):
        keys = self.store.keys
        record = Record.parse(keys.open(keys.file_context("object", self.tag), self.path.read_bytes()))
        require(record.kind == OBJECT and record.key == self.key and record.summary == self.summary,
                f"record and name of {self.key!r} tell different things")
        return record

    def content(self):
        record = self.record()
        if not record.segments:
            return record.content
        return b"".join(self.store.body(sealed.body_path(self.tag, i), *segment) for i, segment in enumerate(record.segments))


class Store:
    def __init__(self, folder, keys):
        self.folder, self.keys = pathlib.Path(folder), keys

    def body(self, path, body_id, size):
        path = self.folder / path
        if not path.exists():
            path = self.folder / sealed.s3_body_path(body_id)
        require(path.exists(), f"a body is missing: {path}")
        return self.keys.open(self.keys.file_context("body", body_id), path.read_bytes(), size)

    def objects(self):
        """key -> Object, from names alone."""
        found = {}
        self._walk(self.folder / "names", sealed.ROOT_CHAIN, b"", found)
        return dict(sorted(found.items()))

    def _walk(self, folder, chain, prefix, found):
        for path in folder.iterdir() if folder.is_dir() else ():
            kind, component, inner, summary, tag = self.keys.open_name(chain, path.name)
            key = prefix + component
            require(path.is_dir() == (kind != b"O"), f"not what its name says: {path}")
            if kind != b"O":
                self._walk(path, inner, key + (b"/" if kind == b"D" else b""), found)
            elif key not in found or found[key].summary.sequence < summary.sequence:
                found[key] = Object(self, path, key, summary, tag)

    def uploads(self):
        """(id, key, fields, {number: content}) of each upload under way."""
        for folder in sorted((self.folder / "uploads").glob("*")):
            if not (folder / "upload").exists():
                continue
            upload_id = bytes.fromhex(folder.name)
            context = self.keys.file_context("upload", upload_id)
            begun = Record.parse(self.keys.open(context, (folder / "upload").read_bytes()))
            require(begun.kind == UPLOAD, "an upload's record is none")
            newest = {}
            for path in folder.glob("p*"):
                attempt = path.name[1:]
                context = self.keys.file_context("part", upload_id + bytes.fromhex(attempt))
                record = Record.parse(self.keys.open(context, path.read_bytes()))
                require(record.kind == PART and record.key == begun.key and len(record.parts) == 1, "no part's record")
                number = record.parts[0][0]
                if number not in newest or newest[number][0].summary.sequence < record.summary.sequence:
                    newest[number] = record, attempt
            yield folder.name, begun.key, begun.fields, {
                number: b"".join(self.body(f"uploads/{folder.name}/b{attempt}.{i}", *s) for i, s in enumerate(record.segments))
                for number, (record, attempt) in sorted(newest.items())}


def file_name(key):
    name = urllib.parse.quote(key, safe="")
    if name in (".", ".."):
        name = name.replace(".", "%2E")
    return name if len(name) <= 255 else name[:200] + "." + hashlib.sha256(key).hexdigest()[:32]


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder")
    parser.add_argument("--region", required=True)
    parser.add_argument("--profile")
    parser.add_argument("--endpoint-url")
    parser.add_argument("--bucket", default="lockset")
    parser.add_argument("--s3", action="store_true", help="what S3 clients keep (in s3/), not the engine")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--to", type=pathlib.Path)
    options = parser.parse_args()
    import boto3  # only here: the rest works with keys from anywhere
    from botocore.exceptions import ClientError
    session = boto3.Session(profile_name=options.profile, region_name=options.region)
    kms = session.client("kms", endpoint_url=options.endpoint_url)
    try:
        folder, bucket = pathlib.Path(options.folder), "s3" if options.s3 else options.bucket
        store = Store(folder / "s3" if options.s3 else folder, unwrap(options.folder, options.region, kms, bucket))
        objects = store.objects()
        for key, found in objects.items():
            if options.list:
                print(f"{found.summary.size:>12}  {found.summary.etag_text():<34}  {key.decode()}")
                continue
            content = found.content()
            if options.to:
                options.to.mkdir(parents=True, exist_ok=True)
                (options.to / file_name(key)).write_bytes(content)
    except (ClientError, Refused) as error:
        sys.exit(f"read_sealed: {error}")
    print(f"{len(objects)} objects", file=sys.stderr)


if __name__ == "__main__":
    main()
