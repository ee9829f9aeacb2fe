"""The gateway over a store in real S3 (Ceph's radosgw), in all three modes of encryption: the operations of S3 clients, what the bucket
holds then, kills in the middle of writes, and the second implementation reading a copy of the bucket."""
import hashlib
import os
import pathlib
import random
import secrets
import subprocess
import sys
import threading

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from gateway_tools import BUCKET, KEY_ARN, Harness

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/tools"))

from read_sealed import Store  # noqa: E402
from sealed import Keys  # noqa: E402

MIB = 1 << 20
MODES = ["sealed", "sse-kms", "sealed+sse-kms"]
HARNESS_KEYS = Keys("o00000000000000000001", "us-west-2", {b"\x22" * 16: b"\x33" * 32}, b"\x11" * 32, BUCKET)
PREFIX = "some/where/o00000000000000000001/"
