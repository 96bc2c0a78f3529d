"""php's curl extension, unmodified: php loads it with RTLD_DEEPBIND, which hides every preload from it
unless the flag is cleared."""

import json
import re
import textwrap

import pytest

from curl_hosts import crc32, digests, events, lines, methods, names, run, steps
from harness import FaultServer

LATE = {"max_attempts": 100}  # for a port that opens 300 ms late, on the busiest machine
OTHERS = ["json", "mbstring", "openssl", "pgsql", "readline", "sockets", "curl"]


def php(body, *arguments, **options):
    """Runs a program to which $url is its first argument; none of php's warnings is swallowed."""
    program = "$url = $argv[1] ?? ''; " + textwrap.dedent(body)
    return run(["php", "-d", "display_errors=stderr", "-r", program, "--", *arguments], **options)


RETURNED = """\
    $curl = curl_init($url);
    curl_setopt_array($curl, [CURLOPT_RETURNTRANSFER => true] + ($options ?? []));
    for ($turn = 0; $turn < ($turns ?? 1); $turn++) {
        $body = curl_exec($curl);
        echo json_encode([curl_errno($curl), curl_getinfo($curl, CURLINFO_RESPONSE_CODE), $body]), "\\n";
    }
    """
MULTI = """\
    $multi = curl_multi_init();
    foreach (range(1, $count ?? 1) as $number) {
        $all[$number] = curl_init("$url/$number");
        curl_setopt_array($all[$number], [CURLOPT_RETURNTRANSFER => true] + ($options ?? []));
        curl_multi_add_handle($multi, $all[$number]);
    }
    do {
        $status = curl_multi_exec($multi, $running);
        if ($running) curl_multi_select($multi, 1.0);
        while ($message = curl_multi_info_read($multi)) {
            $codes[array_search($message['handle'], $all, true)][] = $message['result'];
        }
    } while ($running && $status === CURLM_OK);
    foreach ($all as $number => $curl) {
        assert(count($codes[$number]) === 1);
        echo json_encode([$codes[$number][0], curl_getinfo($curl, CURLINFO_RESPONSE_CODE), curl_multi_getcontent($curl)]), "\\n";
        curl_multi_remove_handle($multi, $curl);
    }
    curl_multi_close($multi);
    """
OK = [0, 200, "ok\n"]
BUSY = [0, 503, "503 Service Unavailable\n"]
every_way = pytest.mark.parametrize("program", [RETURNED, MULTI], ids=["exec", "multi"])


def told(result):
    """What the program printed, a JSON value a line; it said nothing else."""
    assert result.stderr == b"", result
    return [json.loads(line) for line in lines(result)]


def fails(program, script, failure, **options):
    """The control: without the shim, and with it where the flag is kept. A request is sent once."""
    for settings in ({"shim": False}, {"deepbind": "keep"}):
        with FaultServer(script, **options) as server:
            assert [value[:2] for value in told(php(program, server.url, **settings))] == [failure]
            assert len(server.requests()) <= 1


# ---- recovery -------------------------------------------------------------------------------------


@every_way
@pytest.mark.parametrize("script, failure", [
    (["503", "200"], [0, 503]), (["empty", "200"], [52, 0]), (["reset-after", "429", "200"], [56, 0])])
def test_recovers(program, script, failure):
    fails(program, script, failure)
    with FaultServer(script) as server:
        result = php(program, server.url)
        assert told(result) == [OK] and steps(server) == script
    assert {event["program"] for event in events(result)} == {"php"}
    assert names(result) == ["attempt_failed"] * (len(script) - 1) + ["succeeded"]


@every_way
def test_port_that_opens_late(program):
    fails(program, "200", [7, 0], open_after="20s", lifetime="30s")
    with FaultServer("200", open_after="300ms") as server:
        result = php(program, server.url, **LATE)
        assert told(result) == [OK] and len(server.requests()) == 1
    assert names(result)[0] == "attempt_failed" and names(result)[-1] == "succeeded"


@every_way
def test_exhausted(program):
    """The last response is the program's, whole."""
    with FaultServer("503") as server:
        result = php(program, server.url)
        assert told(result) == [BUSY] and steps(server) == ["503"] * 3
    assert names(result)[-1] == "exhausted"


def test_handle_is_used_again():
    script = ["503", "200", "200", "empty", "200"]
    with FaultServer(script) as server:
        assert told(php("$turns = 3;" + RETURNED, server.url)) == [OK] * 3
        assert steps(server) == script


def test_many_at_once():
    """Five transfers of one multi, of which each fails once or twice."""
    script = ["503"] * 5 + ["429"] * 3 + ["200"]
    with FaultServer("503") as server:
        assert told(php("$count = 5;" + MULTI, server.url, shim=False)) == [BUSY] * 5
    with FaultServer(script) as server:
        result = php("$count = 5;" + MULTI, server.url, max_attempts=6)
        assert told(result) == [OK] * 5
        assert len(server.requests()) == 13 and {entry["path"] for entry in server.requests()} == {f"/{n}" for n in range(1, 6)}
    assert sorted(names(result)) == ["attempt_failed"] * 8 + ["succeeded"] * 5


# ---- no duplicates --------------------------------------------------------------------------------

POST = "$options = [CURLOPT_POSTFIELDS => 'a=b'{more}];"


@every_way
@pytest.mark.parametrize("step, expected", [("503", [0, 503]), ("reset-after", [56, 0]), ("empty", [52, 0])])
def test_post_is_sent_once(program, step, expected):
    with FaultServer([step, "200"]) as server:
        result = php(POST.replace("{more}", "") + program, server.url)
        assert [value[:2] for value in told(result)] == [expected]
        assert digests(server) == [(crc32(b"a=b"), 3)]
    assert names(result) == ["given_up unsafe"]


@every_way
def test_post_with_a_key(program):
    more = ", CURLOPT_HTTPHEADER => ['Idempotency-Key: 1']"
    with FaultServer(["503", "reset-after", "200"]) as server:
        result = php(POST.replace("{more}", more) + program, server.url)
        assert told(result) == [OK] and digests(server) == [(crc32(b"a=b"), 3)] * 3
        assert methods(server) == ["POST"] * 3


# Each way in which php hands a body on; each prints it and the code.
OUTPUTS = {
    "returned": "curl_setopt($curl, CURLOPT_RETURNTRANSFER, true); $body = curl_exec($curl); echo '<', $body, '>';",
    "echoed": "echo '<'; curl_exec($curl); echo '>';",
    "callback": """
        $seen = '';
        curl_setopt($curl, CURLOPT_WRITEFUNCTION, function ($curl, $data) use (&$seen) { $seen .= $data; return strlen($data); });
        curl_exec($curl); echo '<', $seen, '>';""",
    "file": """
        $file = fopen('body', 'w+'); curl_setopt($curl, CURLOPT_FILE, $file);
        curl_exec($curl); rewind($file); echo '<', stream_get_contents($file), '>';""",
    "with headers": """
        curl_setopt_array($curl, [CURLOPT_RETURNTRANSFER => true, CURLOPT_HEADER => true]);
        $all = curl_exec($curl); echo substr_count($all, 'HTTP/1.1 '), '<', explode("\\r\\n\\r\\n", $all, 2)[1], '>';""",
    "header callback": """
        $lines = [];
        curl_setopt($curl, CURLOPT_HEADERFUNCTION, function ($curl, $line) use (&$lines) { $lines[] = $line; return strlen($line); });
        echo '<'; curl_exec($curl); echo '>', $lines[0], count(preg_grep('/^HTTP/', $lines));""",
}


@pytest.mark.parametrize("way", OUTPUTS)
def test_body_comes_once(way):
    program = "$curl = curl_init($url);" + OUTPUTS[way] + "echo curl_errno($curl), curl_getinfo($curl, CURLINFO_RESPONSE_CODE);"
    outputs = []
    for script, options in ((["200"], {"shim": False}), (["200"], {}), (["503,body=bad", "empty", "200"], {})):
        with FaultServer(script) as server:
            result = php(program, server.url, **options)
            assert len(server.requests()) == len(script)
        assert result.returncode == 0 and result.stderr == b""
        outputs.append(result.stdout)
    assert outputs[0] == outputs[1] == outputs[2] and b"<ok\n>" in outputs[0] and outputs[0].endswith(b"0200")


def test_copies_uploads_and_forms():
    """What php does with a handle beside curl_exec()."""
    program = """\
        $curl = curl_init($url);
        curl_setopt_array($curl, [CURLOPT_RETURNTRANSFER => true, CURLOPT_HTTPHEADER => ['Idempotency-Key: 1', 'Expect:']]);
        $copy = curl_copy_handle($curl);
        file_put_contents('data', str_repeat('0123456789', 1000));
        curl_setopt_array($curl, [CURLOPT_UPLOAD => true, CURLOPT_INFILE => fopen('data', 'r'), CURLOPT_INFILESIZE => 10000]);
        echo curl_exec($curl);
        curl_setopt($copy, CURLOPT_POSTFIELDS, ['field' => 'value', 'file' => new CURLStringFile('content', 'name')]);
        echo curl_exec($copy);
        curl_reset($copy);
        curl_setopt($copy, CURLOPT_URL, $url);
        curl_exec($copy);
        """
    with FaultServer(["200"]) as server:
        plain = php(program, server.url, shim=False)
        seen = digests(server)[0]
    with FaultServer(["200", "503", "200", "503", "200"]) as server:
        result = php(program, server.url)
        assert lines(result) == lines(plain) == ["ok"] * 3 and result.stderr == b""
        assert methods(server) == ["PUT", "POST", "POST", "GET", "GET"] and digests(server)[0] == seen
        assert digests(server)[1][1] == digests(server)[2][1] > 100


# ---- what is not curl -----------------------------------------------------------------------------


def test_modules_are_the_same():
    plain, with_shim = (run(["php", "-m"], shim=shim) for shim in (False, True))
    assert (with_shim.stdout, with_shim.stderr, with_shim.diag) == (plain.stdout, b"", b"")
    assert {name.encode() for name in OTHERS} <= set(plain.stdout.split())


def test_phpinfo_is_the_same():
    """But for what the environment holds, clocks and numbers of processes."""
    def information(shim, **settings):
        result = php("phpinfo(INFO_GENERAL | INFO_CONFIGURATION | INFO_MODULES);", shim=shim, **settings)
        assert result.returncode == 0 and result.stderr == b""
        return [line for line in lines(result) if not re.search("LD_PRELOAD|System =>", line)]
    assert information(True) == information(False) == information(True, deepbind="drop")
    assert "cURL support => enabled" in information(True)


PROGRAMS = {
    "json": "echo json_encode(['a' => [1, 2.5, null]]), json_decode('{\"b\": 3}')->b;",
    "mbstring": "echo mb_strtoupper('äöü'), mb_strlen('äöü'), mb_convert_encoding('é', 'ISO-8859-1', 'UTF-8') === \"\\xe9\";",
    "openssl": "echo openssl_digest('x', 'sha256'), OPENSSL_VERSION_TEXT, bin2hex(openssl_encrypt('x', 'aes-128-cbc', 'k', 0, str_repeat('i', 16)));",
    "pgsql": "echo PGSQL_LIBPQ_VERSION, @pg_connect('host=127.0.0.1 port=1 connect_timeout=2') === false;",
    "sockets": "$pair = []; socket_create_pair(AF_UNIX, SOCK_STREAM, 0, $pair); socket_write($pair[0], 'x'); echo socket_read($pair[1], 1);",
    "pcre": "echo preg_replace('/(a)(b)/', '$2$1', 'xaby');",
    "curl": "echo curl_version()['version'], curl_version()['ssl_version'], curl_strerror(7), curl_escape(curl_init(), 'a b');",
}


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("deepbind", [None, "drop", "keep"])
def test_extension_works_the_same(name, deepbind):
    settings = {"max_attempts": 1, **({"deepbind": deepbind} if deepbind else {})}
    plain, with_shim = php(PROGRAMS[name], shim=False), php(PROGRAMS[name], **settings)
    assert (with_shim.returncode, with_shim.stdout, with_shim.stderr) == (0, plain.stdout, plain.stderr)
    assert plain.returncode == 0 and plain.stdout and plain.stderr == b""


@pytest.mark.parametrize("settings", [{}, {"curl": 0}, {"enabled": 0}, {"deepbind": "keep"}, {"deepbind": "drop"}])
@every_way
def test_healthy_transfer_is_the_same(program, settings):
    outputs = []
    for options in ({"shim": False}, settings):
        with FaultServer("200,size=200000") as server:
            result = php(program, server.url, **options)
            outputs.append((told(result), [(entry["method"], entry["path"], entry["headers"]["host"].partition(":")[0])
                                           for entry in server.requests()]))
        assert result.diag == b""
    assert outputs[0] == outputs[1] and outputs[0][0][0][:2] == [0, 200]
