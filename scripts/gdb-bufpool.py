# SPDX-License-Identifier: MIT
"""Commands for gdb that show what is in a pool, of a live process and of a core dump alike.

    (gdb) source scripts/gdb-bufpool.py
    (gdb) bufpool classes          slots, blocks and bytes of each size class
    (gdb) bufpool slots SIZE       every slot of the class that holds blocks of SIZE bytes (an expression)
    (gdb) bufpool owner ADDRESS    what an address (an expression) belongs to

The pool is that of the preload object, or the expression that `bufpool pool EXPRESSION` names, of type struct bp_pool.
Needs the debugging information of the library; nothing is called in the process and nothing changed.
"""
import gdb

MARK = 1 << 63  # BP_TAINT_MARK
POOL = 'bp_process_pool'


class Error(gdb.GdbError):
    pass


def evaluate(expression):
    try:
        return gdb.parse_and_eval(expression)
    except gdb.error as error:
        stripped = 'has unknown type' in str(error)
        hint = ' (the library has no debugging information: build it with -Ddebug=true, and do not strip it)' if stripped else ''
        raise Error(f'bufpool: {error}{hint}') from error


def arena():
    found = evaluate(f'({POOL}).arena')
    if int(found['bytes']) == 0:
        raise Error('bufpool: the program has no pool: no large request was served yet, or bufpool is off')
    return found


def text_of(count):
    """Bytes as bufpool's own reports have them."""
    for unit in ('', 'K', 'M', 'G'):
        if count < 10240 or unit == 'G':
            return f'{count}{unit}'
        count //= 1024
    return ''


class Slot:
    def __init__(self, record, stride):
        # Large slots begin some pages after their stride does.
        self.base, self.stride = int(record['home']) & -int(arena()['page_bytes']), stride
        self.block = int(record['live']) & (MARK - 1)
        self.size, self.dirty = int(record['size_bytes']), int(record['dirty_bytes'])
        self.tainted = bool(record['tainted'])

    @property
    def state(self):
        return 'live' if self.block else 'free' if self.dirty else 'clean'

    def __str__(self):
        block = f'block {self.block:#x}, {self.size} bytes' if self.block else f'last block {self.size} bytes'
        return f'{self.base:#x} {self.state:5} {block}, {text_of(self.dirty)} dirty{", tainted" if self.tainted else ""}'


def spans():
    span = arena()['spans']
    while span:
        yield span
        span = span['next']


def slots_of(span):
    for number in range(int(span['carved_count'])):
        yield Slot(span['slots'][number], 1 << int(span['stride_shift']))


def slot_at(address):
    """The slot that holds an address of the arena, or None where none was ever used."""
    for span in spans():
        offset = address - int(span['base'])
        number = offset >> int(span['stride_shift'])
        if 0 <= offset and number < int(span['carved_count']):
            return Slot(span['slots'][number], 1 << int(span['stride_shift']))
    return None


class Bufpool(gdb.Command):
    __doc__ = __doc__

    def __init__(self):
        super().__init__('bufpool', gdb.COMMAND_DATA, prefix=True)


class Classes(gdb.Command):
    """Slots, blocks and bytes of each size class."""

    def __init__(self):
        super().__init__('bufpool classes', gdb.COMMAND_DATA)

    def invoke(self, argument, from_tty):
        rows = {}
        for span in spans():
            row = rows.setdefault(int(span['stride_shift']), dict.fromkeys(('live', 'free', 'clean', 'bytes', 'dirty'), 0))
            for slot in slots_of(span):
                row[slot.state] += 1
                row['bytes'] += slot.size if slot.block else 0
                row['dirty'] += slot.dirty
        print(f'{"blocks <":>10} {"live":>8} {"free":>8} {"clean":>8} {"live bytes":>12} {"dirty":>8}')
        for shift, row in sorted(rows.items()):
            print(f'{text_of(1 << shift):>10} {row["live"]:8} {row["free"]:8} {row["clean"]:8} {text_of(row["bytes"]):>12} '
                  f'{text_of(row["dirty"]):>8}')


class Slots(gdb.Command):
    """Every slot of the class that holds blocks of SIZE bytes."""

    def __init__(self):
        super().__init__('bufpool slots', gdb.COMMAND_DATA)

    def invoke(self, argument, from_tty):
        shift = max(13, (int(evaluate(argument)) + 4096 - 1).bit_length())
        for span in spans():
            if int(span['stride_shift']) == shift:
                for slot in slots_of(span):
                    print(slot)


class Owner(gdb.Command):
    """What an address belongs to."""

    def __init__(self):
        super().__init__('bufpool owner', gdb.COMMAND_DATA)

    def invoke(self, argument, from_tty):
        address = int(evaluate(argument)) & (MARK * 2 - 1)
        found = arena()
        if not 0 <= address - int(found['base']) < int(found['bytes']):
            print(f'{address:#x} is not in the pool')
            return
        slot = slot_at(address)
        if not slot:
            print(f'{address:#x} is in the pool, where no block was ever')
            return
        if not slot.block:
            place = 'in a slot without a live block'
        elif slot.block <= address < slot.block + slot.size:
            place = f'{address - slot.block} bytes into a live block of {slot.size} bytes'
        elif address < slot.block:
            place = f'{slot.block - address} bytes before a live block of {slot.size} bytes'
        else:
            place = f'{address - slot.block - slot.size} bytes behind a live block of {slot.size} bytes'
        print(f'{address:#x} is {place}: slot of class {text_of(slot.stride)}')
        print(slot)


class Pool(gdb.Command):
    """Shows another pool than the preload object's: an expression of type struct bp_pool."""

    def __init__(self):
        super().__init__('bufpool pool', gdb.COMMAND_DATA)

    def invoke(self, argument, from_tty):
        global POOL
        POOL = argument or 'bp_process_pool'


for command in (Bufpool, Classes, Slots, Owner, Pool):
    command()
