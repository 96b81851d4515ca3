// The state of interlock.sys in WinDbg: `.scriptload interlock.js`, then `!interlock`.
//
// Every field is accessed by name: the driver's types come from interlock.pdb, the kernel's types (IRP, device object, device
// queue) from the symbols of nt. The script contains no offsets.
//
// The debugger's JavaScript provider supports ES6.

"use strict";

/** The driver's module. */
const MODULE = "interlock";

/** The name in interlock.pdb of a request's record, with the list entry before it. */
const NODE = "wdm::ex::node::Node<interlock::ledger::Record>";

/** The list link of an open file, and the state of an open file. */
const LINK = "wdm::io::file::Link";
const OPEN = "wdm::shared::Inner<wdm::io::file::OpenFile<interlock::opened::Opened>>";

/** The largest number of entries that are read from a list; a longer list is corrupt, or too long to show. */
const MOST = 10000;

function initializeScript() {
    return [
        new host.apiVersionSupport(1, 3),
        new host.functionAlias(interlock, "interlock"),
        new host.functionAlias(interlockAt, "interlockat")
    ];
}

/**
 * Prints the state of a device, by the address of its DEVICE_OBJECT, or of every device of the driver.
 */
function interlock(device) {
    const devices = device === undefined ? deviceObjects() : [device];
    if (devices.length === 0) {
        print("\\Driver\\interlock has no device object, or is not loaded");
    }
    for (const address of devices) {
        const object = host.createPointerObject(address, "nt", "_DEVICE_OBJECT*");
        const extension = at(object.DeviceExtension.address, "wdm::io::extension::Extension");
        const removed = number(extension.removed) ? ": it is removed, so the rest may be read from freed memory" : "";
        print("device object " + hex(address) + removed);
        section("stacks", () => printStacks(extension.files));
        interlockAt(extension.device.address);
    }
}

/** Prints the state of a device, by the address of its `interlock::Interlock`. */
function interlockAt(address) {
    const device = at(address, "interlock::Interlock");
    print("interlock::Interlock " + hex(address));
    section("state", () => [number(device.run_state) === 0 ? "running" : "stopped"]);
    section("counters", () => printCounters(shared(device.ledger)));
    section("zone", () => printZone(shared(device.zone.raw.core)));
    section("fifo", () => printIrpQueue(shared(device.fifo), true));
    section("keyed", () => printServing(inBlock(device.keyed)));
    section("serial", () => printServing(inBlock(device.serial)));
    section("interlocked", () => printList(shared(inBlock(device.interlocked).requests).list));
    section("cancelable", () => printIrpQueue(shared(device.cancelable), false));
    section("locks", () => printLocks(device));
}

/** Returns the value of a `Shared`. */
function shared(owner) {
    return owner.inner.pointer.value;
}

/** Returns the context of a `Timer` or `Dpc`. */
function inBlock(owner) {
    return owner.inner.pointer.context;
}

/** Returns the addresses of the driver's device objects, from the output of a debugger command. */
function deviceObjects() {
    const found = [];
    let isList = false;
    for (const line of host.namespace.Debugger.Utility.Control.ExecuteCommand("!drvobj \\Driver\\interlock 1")) {
        if (isList) {
            for (const address of line.match(/\b[0-9a-f]{8}`?[0-9a-f]{8}\b/gi) || []) {
                found.push(host.parseInt64(address.replace("`", ""), 16));
            }
        }
        isList = /Device Object list/i.test(line) || (isList && line.trim() !== "");
    }
    return found;
}

/** Prints one part; reports an error if the part cannot be read. */
function section(name, body) {
    try {
        print("  " + name + ": " + body().join("\n      "));
    } catch (error) {
        print("  " + name + ": cannot be read: " + error.message);
    }
}

function printCounters(ledger) {
    const counts = ledger.counts.value.value;
    const names = ["submitted", "completed", "cancelled", "aborted", "rejected"];
    const parts = names.map((name) => number(counts[name]) + " " + name);
    return [parts.concat([number(ledger.outstanding) + " pending"]).join(", ")];
}

function printZone(zone) {
    const blocks = number(zone.blocks);
    const used = number(zone.in_use);
    let free = 0;
    for (let entry = zone.header.value.FreeList.Next; !entry.isNull && free < MOST; entry = entry.Next) {
        free += 1;
    }
    const size = number(zone.block_size);
    const differs = used + free === blocks ? "" : ", which do not add up";
    return [blocks + " blocks of " + size + " bytes, " + used + " in use, " + free + " free" + differs];
}

function printIrpQueue(queue, hasRecords) {
    const state = queue.state.value.value;
    const length = number(state.length);
    const irps = Array.from(entries(queue.head.value), (entry) => irpOf(entry, ["ListEntry"]));
    const differs = length === irps.length ? "" : ", and the list has " + irps.length;
    const title = length + " IRPs" + differs + refusing(state);
    return [title].concat(irps.map((irp) => describe(irp, hasRecords)));
}

function printServing(serving) {
    const own = shared(serving.queue);
    const state = own.state.value;
    const queue = host.createPointerObject(own.queue.queue.value.targetLocation, "nt", "_KDEVICE_QUEUE*");
    const irps = Array.from(entries(queue.DeviceListHead), (entry) =>
        irpOf(entry, ["DeviceQueueEntry", "DeviceListEntry"])
    );
    const title = (state.busy ? "busy" : "idle") + ", " + irps.length + " IRPs wait" + refusing(state);
    const waiting = irps.map((irp) => describe(irp, true));
    const current = some(serving.current.value.value.irp);
    if (current === undefined) {
        return [title].concat(waiting);
    }
    const served = host.createPointerObject(current.irp.irp.pointer.address, "nt", "_IRP*");
    return [title, describe(served, true) + ", served"].concat(waiting);
}

function printList(list) {
    const irps = Array.from(entries(list.head.value), (entry) => irpOf(entry, ["ListEntry"]));
    return [irps.length + " IRPs"].concat(irps.map((irp) => describe(irp, true)));
}

/** Returns the stack of each open file. */
function printStacks(files) {
    const records = [];
    let opens = 0;
    for (const link of entries(files.list.value.head)) {
        opens += 1;
        const stack = at(at(link.address, LINK).owner.address, OPEN).value.state.stack;
        for (let entry = stack.head.value.Next; !entry.isNull && records.length < MOST; entry = entry.Next) {
            records.push(describeRecord(at(entry.address, NODE).value) + ", of open " + opens);
        }
    }
    return [opens + " opens, " + records.length + " records"].concat(records);
}

/** Returns the state of every spin lock; with the feature `lock-debug` also its owner's processor and its statistics. */
function printLocks(device) {
    const ledger = shared(device.ledger);
    const locks = [
        ["fifo.state", shared(device.fifo).state],
        ["cancelable.state", shared(device.cancelable).state],
        ["keyed.current", inBlock(device.keyed).current],
        ["serial.current", inBlock(device.serial).current],
        ["ledger.counts", ledger.counts],
        ["ledger.longest", ledger.longest],
        ["zone.segments", shared(device.zone.raw.core).segments]
    ];
    const lines = locks.map((named) => named[0] + ": " + describeLock(named[1]));
    const hasDebug = lines.some((line) => line.indexOf("acquisitions") >= 0);
    return [hasDebug ? "" : "a build with the feature lock-debug shows their owners"].concat(lines);
}

function describeLock(lock) {
    // In some types of lock the value is a pointer, which is not a JavaScript number.
    const isHeld = hex(lock.lock.lock.value) !== hex(0);
    const debug = lock.debug;
    if (debug === undefined || debug.owner === undefined) {
        return isHeld ? "held" : "free";
    }
    const owner = number(debug.owner);
    const held = owner === 0xffffffff ? "held, by an owner that is not recorded yet" : "held by processor " + owner;
    const counts = number(debug.acquires) + " acquisitions, " + number(debug.contended) + " of them contended";
    return (isHeld ? held : "free") + "; " + counts + ", held for at most " + number(debug.longest_hold) + " ticks";
}

/** Returns an IRP and its record, whose address is the last word of DriverContext. */
function describe(irp, hasRecord) {
    const text = "IRP " + hex(irp.address);
    if (!hasRecord) {
        return text;
    }
    const record = irp.Tail.Overlay.DriverContext[3];
    return text + " " + describeRecord(at(record.address, NODE).value);
}

function describeRecord(record) {
    const pend = record.pend;
    return "tag " + decimal(pend.tag) + ", key " + number(pend.key) + ", sequence " + number(record.sequence);
}

/** Returns the status with which a queue completes further IRPs, if it rejects them. */
function refusing(state) {
    const status = some(state.refusal.status);
    return status === undefined ? "" : ", refuses with " + (number(status) >>> 0).toString(16);
}

/** Returns the entries of a LIST_ENTRY; each must point back to the previous one. */
function* entries(head) {
    const start = host.createPointerObject(head.targetLocation, "nt", "_LIST_ENTRY*");
    let last = start;
    for (let count = 0; count < MOST; count += 1) {
        const next = last.Flink;
        if (hex(next.Blink.address) !== hex(last.address)) {
            throw new Error("the list is corrupt after " + hex(last.address) + ", entry " + count);
        }
        if (hex(next.address) === hex(start.address)) {
            return;
        }
        yield next;
        last = next;
    }
    throw new Error("the list has more than " + MOST + " entries");
}

/** Returns the IRP of an entry in Tail.Overlay: CONTAINING_RECORD. */
function irpOf(entry, path) {
    let type = host.getModuleType("nt", "_IRP");
    let offset = 0;
    for (const name of ["Tail", "Overlay"].concat(path)) {
        const field = type.fields[name];
        offset += Number(field.offset);
        type = field.type;
    }
    return host.createPointerObject(entry.address.subtract(offset), "nt", "_IRP*");
}

/** Returns the driver's object of a type at an address. */
function at(address, type) {
    try {
        return host.createPointerObject(address, MODULE, type + "*");
    } catch (error) {
        // A PDB has the names of types in the old C++ form.
        return host.createPointerObject(address, MODULE, type.replace(/>>/g, "> >") + "*");
    }
}

/** Returns the value of an Option; `undefined` for None. */
function some(option) {
    return number(option.tag) === 0 ? undefined : option.variant1.value.__0;
}

/** Returns the number in an atomic, a cell or a newtype, whose fields depend on the compiler. */
function number(value) {
    let inner = value;
    while (inner.targetType !== undefined) {
        inner = ["__0", "v", "value"].map((name) => inner[name]).filter((field) => field !== undefined)[0];
        if (inner === undefined) {
            throw new Error("no number was found in a value of type " + value.targetType.name);
        }
    }
    return Number(inner);
}

function hex(address) {
    const digits = address.toString(16).replace(/^0x/, "");
    return "0".repeat(16 - digits.length) + digits;
}

function decimal(value) {
    return value.toString(10);
}

function print(line) {
    host.diagnostics.debugLog(line, "\n");
}
