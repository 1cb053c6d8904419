/** Characters that move the cursor, hide text or end a line. Ids and messages from other programs may contain them. */
const control = /[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g;

/** Puts a text on one line, with control characters escaped. */
export function printable(text: string): string {
  return text.replace(control, (each) => `\\u${each.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

export function shortened(text: string, width: number): string {
  return text.length <= width ? text : `${text.slice(0, width - 1)}…`;
}

const units = ["bytes", "KiB", "MiB", "GiB", "TiB"];

/** Formats a size: `1.2 MiB`. */
export function inBytes(bytes: number): string {
  const power = Math.min(units.length - 1, bytes < 1 ? 0 : Math.floor(Math.log2(bytes) / 10));
  return `${power === 0 ? bytes : (bytes / 1024 ** power).toFixed(1)} ${units[power] ?? ""}`;
}

export const inDigits = (value: number): string => value.toLocaleString("en");

/** Formats rows as lines, with each column as wide as its widest cell. */
export function aligned(rows: readonly (readonly string[])[]): string[] {
  const widths: number[] = [];
  for (const row of rows) row.forEach((cell, index) => (widths[index] = Math.max(widths[index] ?? 0, cell.length)));
  const pad = (cell: string, index: number): string => cell.padEnd(widths[index] ?? 0);
  return rows.map((row) => row.map(pad).join("  ").trimEnd());
}

/** Hides passwords in text: those of the given addresses, and whatever looks like one in any address. */
export class Secrets {
  #passwords: readonly string[] = [];

  constructor(addresses: readonly (string | undefined)[]) {
    this.add(addresses.flatMap((address) => (address === undefined ? [] : passwordsIn(address))));
  }

  /** Adds passwords that are not part of an address. */
  add(passwords: readonly string[]): void {
    const all = new Set([...this.#passwords, ...passwords]);
    // The longest first, since one may contain another. Hiding one or two letters would only garble words.
    this.#passwords = [...all].filter(({ length }) => length > 2).sort((a, b) => b.length - a.length);
  }

  hide(text: string): string {
    let hidden = text;
    for (const password of this.#passwords) hidden = hidden.replaceAll(password, "***");
    return hidden
      .replace(/(\w:\/\/[^\s:@/]*:)[^\s@]+@/g, "$1***@")
      .replace(/([?&](?:ssl)?password=)[^\s&]+/gi, "$1***");
  }
}

/** Returns the passwords of an address, percent-encoded and decoded. */
function passwordsIn(address: string): string[] {
  const found = [/^[^:]*:\/\/[^:@/]*:(.*)@/.exec(address)?.[1], /[?&](?:ssl)?password=([^&]*)/i.exec(address)?.[1]];
  return found.flatMap((each) => (each === undefined ? [] : [each, percentDecoded(each)]));
}

/** Decodes percent-encoded text; text that is not properly encoded stays as it is. */
export function percentDecoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** Formats an address without its password and parameters. */
export function describeAddress(address: string): string {
  if (!URL.canParse(address)) return "the given address";
  const { username, host, pathname } = new URL(address);
  return `${username === "" ? "" : `${percentDecoded(username)}@`}${host}${percentDecoded(pathname)}`;
}
