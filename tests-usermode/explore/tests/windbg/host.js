// Runs the WinDbg script in Node, with a `host` that reads from an image of the model's memory.
//
// usage: node host.js SCRIPT IMAGE.json PAGES.bin FUNCTION [ADDRESS]
//
// The host has the part of WinDbg's JavaScript provider that the script may use, as documented, and throws for anything
// else. A 64-bit value is an object, not a number, and addresses are kernel-mode addresses, so a script that treats an
// address as a number fails.

"use strict";

const fs = require("fs");
const vm = require("vm");

const [script, imageFile, pagesFile, called, address] = process.argv.slice(2);
const image = JSON.parse(fs.readFileSync(imageFile, "utf8"));
const content = fs.readFileSync(pagesFile);
const PAGE = 4096;
const pages = new Map(image.pages.map((page, index) => [page, index * PAGE]));

/** Added to every address. */
const KERNEL = 0xffff800000000000n;

/** The addresses of spin locks. */
const locks = new Set();

/** The 64-bit values that exist. Equal values are the same object, as in the debugger. */
const numbers = new Map();

class Int64 {
    constructor(value) {
        this.value = BigInt.asUintN(64, value);
    }

    static of(value) {
        const wrapped = BigInt.asUintN(64, value);
        if (!numbers.has(wrapped)) {
            numbers.set(wrapped, new Int64(wrapped));
        }
        return numbers.get(wrapped);
    }

    asNumber() {
        if (this.value >= 1n << 53n) {
            throw new Error("64 bit value loses precision on conversion to number");
        }
        return Number(this.value);
    }

    valueOf() {
        return this.asNumber();
    }

    toString(radix) {
        return this.value.toString(radix || 10);
    }

    add(other) {
        return Int64.of(this.value + big(other));
    }

    subtract(other) {
        return Int64.of(this.value - big(other));
    }
}

function big(value) {
    return value instanceof Int64 ? value.value : BigInt(value);
}

function readMemory(at, size) {
    const bytes = Buffer.alloc(size);
    for (let index = 0; index < size; index += 1) {
        const own = Number(at + BigInt(index) - KERNEL);
        const page = pages.get(own - (own % PAGE));
        if (page === undefined) {
            throw new Error("Unable to read memory at Address 0x" + at.toString(16));
        }
        bytes[index] = content[page + (own % PAGE)];
    }
    return bytes;
}

/** The address of an object. */
class Location {
    constructor(at) {
        this.at = at;
    }

    add(value) {
        return new Location(this.at + big(value));
    }

    subtract(value) {
        return new Location(this.at - big(value));
    }
}

function where(location) {
    return location instanceof Location ? location.at : big(location);
}

function layoutOf(type) {
    const layout = image.types[type];
    if (!layout) {
        throw new Error("no type " + type);
    }
    return layout;
}

/** Returns the object that represents a type. */
function typeObject(type) {
    const layout = layoutOf(type);
    const fields = {};
    for (const name of Object.keys(layout.fields || {})) {
        const field = layout.fields[name];
        fields[name] = { name, offset: Int64.of(BigInt(field.offset)), get type() { return typeObject(field.type); } };
    }
    return strict({ name: layout.name, typeKind: layout.kind, fields }, "type object");
}

/** Returns the value of a type at an address: a number, or an object with fields. */
function object(type, at) {
    const layout = layoutOf(type);
    if (layout.kind === "intrinsic") {
        return intrinsic(layout, at);
    }
    if (layout.name === "RawSpinLock") {
        locks.add(at);
    }
    const location = new Location(at);
    const projected = { targetType: typeObject(type), targetLocation: location, targetSize: layout.size };
    if (layout.kind === "pointer") {
        const value = readMemory(at, 8).readBigUInt64LE();
        return pointer(layout.to, value === 0n ? 0n : value + KERNEL, projected);
    }
    return new Proxy(projected, {
        get(_, name) {
            if (name in projected) {
                return projected[name];
            }
            if (layout.kind === "array") {
                return object(layout.of, at + BigInt(name) * BigInt(layoutOf(layout.of).size));
            }
            const field = typeof name === "string" && layout.fields[name];
            return field ? object(field.type, at + BigInt(field.offset)) : undefined;
        }
    });
}

function intrinsic(layout, at) {
    const bytes = readMemory(at, layout.size);
    if (locks.has(at)) {
        // The low half of the model's KSPIN_LOCK is the owner. NT's KSPIN_LOCK is zero if it is free.
        return Int64.of(BigInt(bytes.readUInt32LE()));
    }
    if (layout.size === 8) {
        return Int64.of(bytes.readBigUInt64LE());
    }
    const isSigned = layout.encoding === "signed";
    const value = isSigned ? bytes.readIntLE(0, layout.size) : bytes.readUIntLE(0, layout.size);
    return layout.encoding === "boolean" ? value !== 0 : value;
}

/** Returns a pointer, which also has the properties of the object that it points to. */
function pointer(to, value, others) {
    const projected = Object.assign({ address: Int64.of(value), isNull: value === 0n }, others);
    projected.dereference = () => object(to, value);
    return new Proxy(projected, {
        get(_, name) {
            return name in projected ? projected[name] : object(to, value)[name];
        }
    });
}

function named(module, name) {
    const type = (image.named[module] || {})[name];
    if (type === undefined) {
        throw new Error("Unable to find type '" + name + "' in module '" + module + "'");
    }
    return type;
}

/** Makes the host throw for a property that it does not have. */
function strict(properties, what) {
    return new Proxy(properties, {
        get(_, name) {
            if (!(name in properties) && what === "host") {
                throw new Error("the test's host has no " + String(name));
            }
            return properties[name];
        }
    });
}

let output = "";
const commands = [];
const host = strict({
    diagnostics: { debugLog: (...parts) => { output += parts.join(""); } },
    apiVersionSupport: class {},
    functionAlias: class {
        constructor(body, name) {
            this.body = body;
            this.name = name;
        }
    }
}, "host");
const context = vm.createContext({ host });
vm.runInContext(fs.readFileSync(script, "utf8"), context, { filename: script });
const registered = context.initializeScript();

// The properties that a host has only after the script is initialised.
Object.assign(host, {
    parseInt64: (text, radix) => Int64.of(BigInt((radix === 16 ? "0x" : "") + text)),
    createPointerObject(location, module, name) {
        const star = name.lastIndexOf("*");
        const to = named(module, name.slice(0, star).trim());
        return pointer(to, where(location), { targetType: { typeKind: "pointer", name } });
    },
    getModuleType: (module, name) => typeObject(named(module, name)),
    namespace: { Debugger: { Utility: { Control: { ExecuteCommand(command) {
        commands.push(command);
        return image.commands[command] || [];
    } } } } }
});

const alias = registered.find((other) => other.name === called);
alias.body(...(address === undefined ? [] : [Int64.of(BigInt(address) + KERNEL)]));
process.stdout.write(output);
