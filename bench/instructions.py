"""Counts the instructions of the matrix kernels' inner loops for each product that they make, as a Markdown table.

    rustup target add aarch64-unknown-linux-gnu
    apt install binutils-aarch64-linux-gnu
    python bench/instructions.py

Compiles the kernels for x86-64 and for 64-bit ARM and reads the machine code, so no ARM processor is needed.
A loop is counted with everything that it contains: loads, broadcasts, products and the arithmetic of addresses.
"""
import pathlib
import re
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
X86, ARM = "x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"
# Name, target, disassembler, function, instruction of the products, products of one of them, those in the loop of a whole tile.
KERNELS = [
    ("AVX2, f32", X86, "objdump", "x86::avx2", "vfmadd", 8, 12),
    ("NEON, f32", ARM, "aarch64-linux-gnu-objdump", "neon::fused", "fmla", 4, 64),
    ("AVX-512, f32", X86, "objdump", "x86::avx512", "vfmadd", 16, 28),
    ("AVX-512 BF16, bf16", X86, "objdump", "x86::bf16", "vdpbf16ps", 32, 28),
    ("NEON, bf16", ARM, "aarch64-linux-gnu-objdump", "neon::matrices", "bfmmla", 16, 16),
]
BRANCH = re.compile(r"^(j|b$|b\.|cb|tb)")


def functions(code, name):
    """The instructions of each instance of a function, as (address, mnemonic, operands)."""
    current = None
    for line in code.splitlines():
        if head := re.match(r"^[0-9a-f]+ <(.*)>:$", line):
            if current:
                yield current
            current = [] if head[1].endswith(f"gemm::kernels::{name}") else None
        elif current is not None and (found := re.match(r"\s*([0-9a-f]+):\t(\S+)\s*(.*)", line)):
            current.append((int(found[1], 16), found[2], found[3]))
    if current:
        yield current


def loops(instructions):
    """The mnemonics of each loop: everything between a backward branch and its target."""
    places = {address: place for place, (address, _, _) in enumerate(instructions)}
    for place, (_, mnemonic, operands) in enumerate(instructions):
        target = re.search(r"\b([0-9a-f]+) <", operands)
        if BRANCH.match(mnemonic) and target:
            start = places.get(int(target[1], 16), place + 1)
            if start <= place:
                yield [mnemonic for _, mnemonic, _ in instructions[start : place + 1]]


def main():
    print("| kernel | products in a turn of the loop | instructions | instructions per 100 products |")
    print("|---|---|---|---|")
    with tempfile.TemporaryDirectory() as scratch:
        objects = {}
        for target in (X86, ARM):
            objects[target] = pathlib.Path(scratch) / f"{target}.o"
            command = ["cargo", "rustc", "--release", "-p", "regraft-kernels", "--lib", "--target", target]
            command += ["--", "-C", "codegen-units=1", f"--emit=obj={objects[target]}"]
            subprocess.run(command, cwd=ROOT, check=True)
        for name, target, disassembler, function, mnemonic, products, in_loop in KERNELS:
            command = [disassembler, "-d", "--no-show-raw-insn", "-C", str(objects[target])]
            code = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            found = [loop for body in functions(code, function) for loop in loops(body)]
            counts = [len(loop) for loop in found if sum(m.startswith(mnemonic) for m in loop) == in_loop]
            if not counts:
                raise SystemExit(f"{name}: no loop has {in_loop} {mnemonic}; has the kernel another size now?")
            made = in_loop * products
            print(f"| {name} | {made} | {min(counts)} | {100 * min(counts) / made:.1f} |")


if __name__ == "__main__":
    main()
