/** Text without the passwords of addresses: those that were given, wherever they stand, and any that looks like one. */
export class Secrets {
  #passwords: readonly string[] = [];

  constructor(addresses: readonly (string | undefined)[]) {
    this.add(addresses.flatMap((address) => (address === undefined ? [] : passwordsIn(address))));
  }

  /** More that is not to be seen, such as passwords that were given by themselves. */
  add(passwords: readonly string[]): void {
    const found = new Set([...this.#passwords, ...passwords]);
    // The longest first, should one be a part of another. A password of a letter or two would take words apart, and protects nothing.
    this.#passwords = [...found].filter(({ length }) => length > 2).sort((a, b) => b.length - a.length);
  }

  hide(text: string): string {
    let hidden = text;
    for (const password of this.#passwords) hidden = hidden.replaceAll(password, "***");
    return hidden
      .replace(/(\w:\/\/[^\s:@/]*:)[^\s@]+@/g, "$1***@")
      .replace(/([?&](?:ssl)?password=)[^\s&]+/gi, "$1***");
  }
}

/** Passwords as they stand in an address, and as they are meant. */
function passwordsIn(address: string): string[] {
  const found = [/^[^:]*:\/\/[^:@/]*:(.*)@/.exec(address)?.[1], /[?&](?:ssl)?password=([^&]*)/i.exec(address)?.[1]];
  return found.flatMap((each) => (each === undefined ? [] : [each, decoded(each)]));
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** An address as it may be shown: without its password and its parameters. */
export function describeAddress(address: string): string {
  try {
    const { username, host, pathname } = new URL(address);
    return `${username === "" ? "" : `${decoded(username)}@`}${host}${decoded(pathname)}`;
  } catch {
    return "the address given";
  }
}
