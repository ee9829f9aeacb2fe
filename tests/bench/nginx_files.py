"""Debian's nginx on loopback with plain files: DAV for PUT, sendfile for GET."""
import contextlib
import os
import pathlib
import socket
import subprocess

from lockset_dev import wait_for

CONFIG = """
daemon off;
worker_processes 2;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    client_max_body_size 1g;
    sendfile on;
    keepalive_requests 1000000;
    server {{
        listen 127.0.0.1:{port};
        root {folder}/files;
        location / {{ dav_methods PUT DELETE; }}
    }}
}}
"""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def answers(port):
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


def workers(pid):
    return [int(n) for n in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@contextlib.contextmanager
def nginx(folder):
    folder.mkdir()
    (folder / "files").mkdir()
    port = free_port()
    (folder / "conf").write_text(CONFIG.format(folder=folder, port=port) +
                                 ("user root;\n" if os.geteuid() == 0 else ""))
    process = subprocess.Popen(["/usr/sbin/nginx", "-c", str(folder / "conf"), "-p", str(folder)],
                               stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        wait_for(lambda: answers(port) or process.poll() is not None, 10, 0.02, "nginx's port")
        assert process.poll() is None, (folder / "error.log").read_text()
        yield port, lambda: [process.pid, *workers(process.pid)]
    finally:
        process.terminate()
        process.wait(timeout=10)
