"""A program that downloads with pycurl and prints, as JSON, all that it was told.

    download_client.py URL [OPTIONS]      (JSON: pycurl's option names and their values; "multi": true)
"""

import hashlib
import json
import sys

import pycurl

INFOS = ["RESPONSE_CODE", "CONTENT_LENGTH_DOWNLOAD", "SIZE_DOWNLOAD", "HEADER_SIZE", "CONTENT_TYPE", "EFFECTIVE_URL",
         "REDIRECT_COUNT", "INFO_FILETIME", "CONDITION_UNMET"]


def perform(curl):
    """As curl_easy_perform, by the multi interface."""
    multi = pycurl.CurlMulti()
    multi.add_handle(curl)
    running = 1
    while running:
        _, running = multi.perform()
        if running:
            multi.select(0.2)
    _, _, failed = multi.info_read()
    multi.remove_handle(curl)
    for _, code, text in failed:
        raise pycurl.error(code, text)


def main(url, options="{}"):
    body, headers, progress = [], [], []
    options = json.loads(options)
    curl = pycurl.Curl()
    curl.setopt(pycurl.URL, url)
    curl.setopt(pycurl.WRITEFUNCTION, body.append)
    curl.setopt(pycurl.HEADERFUNCTION, lambda line: headers.append(line.decode().strip()))
    curl.setopt(pycurl.NOPROGRESS, 0)
    curl.setopt(pycurl.XFERINFOFUNCTION, lambda total, got, *_: progress.append((total, got)))
    use = perform if options.pop("multi", False) else pycurl.Curl.perform
    for name, value in options.items():
        curl.setopt(getattr(pycurl, name), value)
    code, text = 0, ""
    try:
        use(curl)
    except pycurl.error as error:
        code, text = error.args
    body = b"".join(body)
    print(json.dumps({"code": code, "text": text, "length": len(body), "sha256": hashlib.sha256(body).hexdigest(),
                      "headers": headers, "progress": progress,
                      "info": {name: curl.getinfo(getattr(pycurl, name)) for name in INFOS}}))


main(*sys.argv[1:])
