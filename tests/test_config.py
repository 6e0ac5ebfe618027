"""Settings: every source, every kind of value, every refusal."""

from __future__ import annotations

import re
from ipaddress import ip_network
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from bits.config import FIELDS, Config, Link, default_of, kind_of, load, shown
from bits.errors import BitsError

DOCS = Path(__file__).parent.parent / "docs" / "configuration.md"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "space.toml"


@pytest.fixture(autouse=True)
def default_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """In place of /etc/bits.toml, which a machine that runs these tests may have."""
    file = tmp_path / "default.toml"
    monkeypatch.setattr("bits.config.DEFAULT_FILE", file)
    return file


def test_the_default_file_is_read_if_it_exists_and_no_other_is_given(file: Path, default_file: Path) -> None:
    assert load(None, {}, {}).sources["web_port"] == "default"
    default_file.write_text("web_port = 1")
    settings = load(None, {}, {})
    assert (settings.config.web_port, settings.sources["web_port"]) == (1, str(default_file))
    file.write_text("")
    assert load(file, {}, {}).config.web_port == 8008


def test_each_source_overrides_the_one_before(file: Path) -> None:
    file.write_text("web_port = 1\ncontrol_port = 1\nspace_name = 'file'\n")
    settings = load(
        file, {"BITS_CONTROL_PORT": "2", "BITS_SPACE_NAME": "env", "HOME": "/"}, {"space_name": "flag", "db_uri": None}
    )
    assert (settings.config.web_port, settings.config.control_port, settings.config.space_name) == (1, 2, "flag")
    assert settings.sources["web_port"] == str(file)
    assert settings.sources["control_port"] == "BITS_CONTROL_PORT"
    assert settings.sources["space_name"] == "--space-name"
    assert settings.sources["db_uri"] == "default"


def test_every_kind_of_value_from_a_file(file: Path) -> None:
    file.write_text("""
web_usocket = "/run/bits.sock"
web_usocket_mode = "0600"
web_usocket_uid = 33
control_allow = ["10.8.0.0/24", "::1"]
stale_after = 60
log_queries = true
time_zone = "Europe/Rome"
space_links = ["Wiki=https://example.org/?a=b", {label = "Mail", href = "mailto:a@example.org"}]
sensor_names = {0 = "Lab", 7 = "Roof"}
bridge_keys = {attic = "an=attic, with a key", "cellar.2" = "0123456789abcdef"}
db_uri = "postgresql://bits:pa%40ss@db/bits"
cookie_secret = "0123456789012345678901234567890123456789"
""")
    config = load(file, {}, {}).config
    assert config.web_usocket == Path("/run/bits.sock")
    assert config.web_usocket_mode == 0o600
    assert config.web_usocket_uid == 33
    assert config.control_allow == (ip_network("10.8.0.0/24"), ip_network("::1/128"))
    assert config.stale_after == 60.0
    assert config.log_queries is True
    assert config.time_zone == ZoneInfo("Europe/Rome")
    assert config.space_links == (Link("Wiki", "https://example.org/?a=b"), Link("Mail", "mailto:a@example.org"))
    assert config.sensor_names == {0: "Lab", 7: "Roof"}
    assert config.bridge_keys == {"attic": "an=attic, with a key", "cellar.2": "0123456789abcdef"}


def test_every_kind_of_value_from_text() -> None:
    config = load(
        None,
        {
            "BITS_CONTROL_ALLOW": "10.8.0.0/24, ::1",
            "BITS_SENSOR_NAMES": "0=Lab, 7=Roof",
            "BITS_SPACE_LINKS": "Wiki=https://example.org, Home=/",
            "BITS_BRIDGE_KEYS": "attic = key=of=the=attic, cellar=0123456789abcdef",
            "BITS_DEVELOPER_MODE": "on",
            "BITS_WEB_USOCKET_MODE": "0640",
            "BITS_WEB_USOCKET": "",
        },
        {"markdown_escape": "no"},
    ).config
    assert config.control_allow == (ip_network("10.8.0.0/24"), ip_network("::1/128"))
    assert config.sensor_names == {0: "Lab", 7: "Roof"}
    assert config.space_links == (Link("Wiki", "https://example.org"), Link("Home", "/"))
    assert config.bridge_keys == {"attic": "key=of=the=attic", "cellar": "0123456789abcdef"}
    assert config.developer_mode
    assert not config.markdown_escape
    assert config.web_usocket_mode == 0o640
    assert config.web_usocket is None


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("web_port = 70000", "a whole number from 0 to 65535, not 70000"),
        ("web_port = true", "a whole number from 0 to 65535, not True"),
        ("web_port = '80'", None),
        ("web_port = 80.5", "a whole number"),
        ("web_usocket_mode = 660", 'permissions in octal, like "0660", not 660'),
        ("web_usocket_mode = '0999'", "permissions in octal"),
        ("control_allow = ['10.0.0.1/8']", "addresses or networks"),
        ("control_allow = [1]", "addresses or networks"),
        ("control_allow = 1", "addresses or networks"),
        ("stale_after = -1", "seconds from 0"),
        ("stale_after = nan", "seconds from 0"),
        ("stale_after = 1" + "0" * 400, "seconds from 0"),
        ("log_queries = 'perhaps'", "true or false, not 'perhaps'"),
        ("time_zone = 'Mars/Olympus'", "an IANA time zone"),
        ("time_zone = '../../etc/passwd'", "an IANA time zone"),
        ("time_zone = ''", "an IANA time zone"),
        ("space_links = ['Wiki']", "links, like"),
        ("space_links = ['x=javascript:alert(1)']", "links, like"),
        ("space_links = [{label = 'x'}]", "links, like"),
        ("space_logo = 'javascript:x'", "an address that begins with"),
        ("sensor_names = {300 = 'x'}", "names by sensor number"),
        ("sensor_names = {a = 'x'}", "names by sensor number"),
        ("db_uri = 'mysql://u:secretive@h/d'", "sqlite:///PATH or postgresql://USER:PASSWORD@HOST/NAME"),
        ("db_uri = 'sqlite://'", "sqlite:///PATH"),
        ("db_uri = 'nonsense'", "sqlite:///PATH"),
        ("cookie_secret = 'secretive'", "at least 32 characters"),
        ("bridge_keys = {attic = 'secretive'}", "keys of at least 16 characters by bridge"),
        ("bridge_keys = {'the attic' = 'secretive_secretive'}", "keys of at least 16 characters"),
        ("bridge_keys = {attic = 17}", "keys of at least 16 characters"),
        ("bridge_keys = 'attic secretive_secretive'", "keys of at least 16 characters"),
        ("bridge_keys = ['attic=secretive_secretive', 1]", "keys of at least 16 characters"),
        ("workers = 0", "a whole number from 1"),
        ("web_host = 1", "a host name or address"),
    ],
)
def test_a_bad_value_is_refused_naming_file_key_and_what_was_expected(
    file: Path, line: str, expected: str | None
) -> None:
    file.write_text(line)
    if expected is None:
        load(file, {}, {})
        return
    with pytest.raises(BitsError) as refusal:
        load(file, {}, {})
    key = line.partition(" ")[0]
    assert str(refusal.value).startswith(f"{file}: {key}: expected {expected}")
    assert "secretive" not in str(refusal.value)


def test_a_bad_variable_and_a_bad_flag_are_named() -> None:
    with pytest.raises(BitsError) as refusal:
        load(None, {"BITS_WEB_PORT": "x"}, {})
    assert str(refusal.value) == "environment: BITS_WEB_PORT: expected a whole number from 0 to 65535, not 'x'"
    with pytest.raises(BitsError, match=r"^--web-port: expected a whole number"):
        load(None, {}, {"web_port": "x"})


def test_unknown_keys_are_refused_with_a_suggestion(file: Path) -> None:
    file.write_text("contol_port = 1")
    with pytest.raises(BitsError, match="unknown key 'contol_port'; did you mean control_port"):
        load(file, {}, {})
    with pytest.raises(BitsError, match="unknown variable BITS_WEB_PROT; did you mean BITS_WEB_PORT"):
        load(None, {"BITS_WEB_PROT": "1"}, {})
    with pytest.raises(BitsError, match="unknown variable BITS_web_port"):
        load(None, {"BITS_web_port": "1"}, {})
    load(None, {"BITS_TRACE": "1"}, {})


def test_a_file_that_cannot_be_read(file: Path, tmp_path: Path) -> None:
    with pytest.raises(BitsError, match="cannot be read: No such file"):
        load(file, {}, {})
    with pytest.raises(BitsError, match="cannot be read: Is a directory"):
        load(tmp_path, {}, {})
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(BitsError, match="is not UTF-8"):
        load(file, {}, {})
    file.write_text("a = 1\nb = \nc = 2")
    with pytest.raises(BitsError, match=r"is not valid TOML: .*line 2"):
        load(file, {}, {})


def test_several_workers_on_sqlite_are_refused_with_the_way_out() -> None:
    with pytest.raises(BitsError, match="a SQLite log belongs to one process; use workers = 1, or a PostgreSQL db_uri"):
        load(None, {"BITS_WORKERS": "2"}, {})


def test_secrets_are_not_shown(file: Path) -> None:
    file.write_text("""
cookie_secret = 'ssssssssssssssssssssssssssssssssssss'
bridge_keys = {x = 'ssssssssssssssss'}
db_uri = 'postgresql://u:pppp@h/d'
""")
    rows = load(file, {}, {}).rows()
    text = str(rows)
    assert "ssss" not in text
    assert "pppp" not in text
    values = {key: value for key, value, _ in rows}
    assert (values["cookie_secret"], values["bridge_keys"]) == ("(set)", "(set)")
    assert values["db_uri"] == "postgresql://u:***@h/d"
    assert shown("db_uri", "postgresql://h/d?password=pppp") == "postgresql://h/d?password=hidden"


def test_every_default_is_a_value_that_can_be_given() -> None:
    for key in FIELDS:
        kind = kind_of(key)
        default = default_of(key)
        if default is not None:
            assert kind.parse(kind.show(default)) == default, key


def test_the_object_is_frozen() -> None:
    with pytest.raises(AttributeError):
        Config().web_port = 1  # type: ignore[misc]


def test_the_documentation_lists_every_setting_as_it_is() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \| (.*?) \|$", DOCS.read_text(), re.MULTILINE)
    expected = []
    for key, field in FIELDS.items():
        default = default_of(key)
        text = "" if default in (None, "", (), {}) else shown(key, default)
        expected.append((key, f"`{text}`" if text else "", field.metadata["doc"]))
    assert rows == expected
