"""What protects the process from what the compiler, the linker and the kernel do by default: read off the file, and off the live process.

The forensic tests find plaintext that was left behind only on a processor whose registers are saved where they look. These tests
find the reason on any processor.
"""

import signal
import struct
import subprocess
from pathlib import Path

import pytest
from elftools.elf.constants import P_FLAGS
from elftools.elf.elffile import ELFFile
from elftools.elf.relocation import RelocationSection

from support import gateway as gateway_module
from support.forensics import mappings
from support.tenant import customer_number

ENDBR64 = b"\xf3\x0f\x1e\xfa"
DF_BIND_NOW, DF_1_NOW, DF_1_PIE = 0x8, 0x1, 0x08000000
GUARDED = ("waybill_crc32c", "waybill_clear_stack", "waybill_open")


@pytest.fixture(scope="module")
def binary():
    with gateway_module.binary().open("rb") as file:
        yield ELFFile(file)


def dynamic(elf):
    return {tag.entry.d_tag: tag.entry.d_val for tag in elf.get_section_by_name(".dynamic").iter_tags()}


def segments(elf, kind):
    return [segment for segment in elf.iter_segments() if segment["p_type"] == kind]


def test_executable_is_bound_at_its_start_and_its_table_is_read_only(binary):
    tags = dynamic(binary)
    assert tags.get("DT_FLAGS", 0) & DF_BIND_NOW and tags["DT_FLAGS_1"] & DF_1_NOW
    assert segments(binary, "PT_GNU_RELRO")


def test_process_whose_linker_hides_the_variable_starts_itself_once():
    """As glibc does to a file with capabilities; a process keeps its id when it starts itself."""
    environment = {name: value for name, value in gateway_module.clean_environment({}).items() if name != "LD_BIND_NOW"}
    done = subprocess.run(
        ["sh", "-c", 'EAGER_BINDING_PID=$$ exec "$0" --version', gateway_module.binary()],
        env=environment, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0 and "LD_BIND_NOW" in done.stderr


def test_executable_lies_anywhere_and_runs_nothing_that_was_written(binary):
    assert binary["e_type"] == "ET_DYN" and dynamic(binary)["DT_FLAGS_1"] & DF_1_PIE
    assert not segments(binary, "PT_GNU_STACK")[0]["p_flags"] & P_FLAGS.PF_X
    assert not [one for one in segments(binary, "PT_LOAD") if one["p_flags"] & P_FLAGS.PF_X and one["p_flags"] & P_FLAGS.PF_W]


def test_stack_overruns_are_met(binary):
    imported = {symbol.name for symbol in binary.get_section_by_name(".dynsym").iter_symbols()}
    assert any(name.startswith("__stack_chk_fail") for name in imported)


@pytest.mark.parametrize("name", GUARDED)
def test_functions_say_where_they_begin(binary, name):
    if binary["e_machine"] != "EM_X86_64":
        pytest.skip("another instruction elsewhere")
    symbol, = binary.get_section_by_name(".symtab").get_symbol_by_name(name)
    section = binary.get_section(symbol["st_shndx"])
    offset = symbol["st_value"] - section["sh_addr"]
    assert section.data()[offset:offset + len(ENDBR64)] == ENDBR64


# The live process


def lazy_slots(pid):
    """Of every loaded library: the names of functions whose slot still leads to the library's own table of stubs, from where the
    first call would go through the dynamic linker."""
    found = []
    bases = {}
    for mapping in mappings(pid):
        if mapping.path.startswith("/"):
            bases.setdefault(mapping.path, mapping.start)
    with Path(f"/proc/{pid}/mem").open("rb", 0) as memory:
        for path, base in bases.items():
            found += [f"{Path(path).name}: {name}" for name in lazy_of(memory, path, base)]
    return found, bases


def lazy_of(memory, path, base):
    with open(path, "rb") as file:
        if file.read(4) != b"\x7fELF":
            return
        elf = ELFFile(file)
        table = elf.get_section_by_name(".rela.plt")
        if not isinstance(table, RelocationSection):
            return
        first = min(segment["p_vaddr"] for segment in segments(elf, "PT_LOAD"))
        plt = elf.get_section_by_name(".plt")
        stubs = range(base - first + plt["sh_addr"], base - first + plt["sh_addr"] + plt["sh_size"])
        symbols = elf.get_section(table["sh_link"])
        for relocation in table.iter_relocations():
            memory.seek(base - first + relocation["r_offset"])
            target, = struct.unpack("<Q", memory.read(8))
            if target in stubs:
                yield symbols.get_symbol(relocation["r_info_sym"]).name


def test_no_function_of_any_library_is_bound_at_its_first_call(gateway):
    """Binding saves the vector registers on the stack of the thread that calls, with whatever was copied through them last."""
    if ELFFile(gateway_module.binary().open("rb"))["e_machine"] != "EM_X86_64":
        pytest.skip("another layout elsewhere")
    found, bases = lazy_slots(gateway.process.pid)
    assert len(bases) > 20, "the libraries were not looked at"
    assert found == []


def test_start_is_one_process_under_its_own_name(gateway):
    """It starts itself once more to have its functions bound; nobody who watches it should notice."""
    own = Path(f"/proc/{gateway.process.pid}")
    assert (own / "comm").read_text().strip() == gateway_module.binary().name[:15]
    assert b"\0serve\0" in (own / "cmdline").read_bytes()
    assert not (own / "task" / str(gateway.process.pid) / "children").read_text()


def test_no_thread_that_sees_bodies_is_interrupted_by_a_signal(gateway, tenant):
    """A handler would run above a copy of all registers of the thread it interrupts, and leave the copy there. The first thread
    is libdispatch's for signals, and does nothing else once the gateway runs."""
    tenant.accepted("wakes the threads that send", customer_number())
    wanted = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
    others = [task for task in Path(f"/proc/{gateway.process.pid}/task").iterdir() if task.name != str(gateway.process.pid)]
    assert len(others) > 5
    for task in others:
        status = dict(line.split(":\t", 1) for line in (task / "status").read_text().splitlines() if ":\t" in line)
        blocked = int(status["SigBlk"], 16)
        missing = {one.name for one in wanted if not blocked >> (one - 1) & 1}
        assert not missing, f"thread {status['Name'].strip()} takes {missing}"
