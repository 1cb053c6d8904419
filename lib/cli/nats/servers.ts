import { readFileSync } from "node:fs";
import type { NatsOptions } from "../../nats/index";
import { loadClient } from "../../nats/client";
import { UsageError } from "../failure";

/** How to reach NATS, and what of it is not to be seen. */
export interface NatsAccess {
  readonly options: Pick<NatsOptions, "servers" | "user" | "pass" | "token" | "tls" | "authenticator">;
  readonly secrets: readonly string[];
}

/**
 * Takes addresses with commas between them apart, such as `nats://user:password@one:4222,nats://two:4222`: to the client who logs in is no part of an address. A name without a
 * password is a token.
 *
 * @throws {@link UsageError} There is none, or one is no address. It is not repeated: it may have a password in it.
 */
export function parseServers(text: string): NatsAccess {
  const addresses = text.split(",").map((each) => parseAddress(each.trim()));
  const [login] = addresses.flatMap(({ user, password }) => (user === "" ? [] : [{ user, password }]));
  const servers = addresses.map(({ server }) => server);
  // Asked for, it must not silently go without.
  const tls = addresses.some(({ isTls }) => isTls) ? { tls: {} } : {};
  const secrets = addresses.flatMap(({ secrets: found }) => found);
  if (login === undefined) return { options: { servers, ...tls }, secrets };
  const { user, password } = login;
  const credentials = password === "" ? { token: user } : { user, pass: password };
  return { options: { servers, ...tls, ...credentials }, secrets };
}

/** A credentials file of NATS, as `nsc` writes it. Read anew for each connection, since it may be renewed. */
export function credentialsFrom(file: string): NonNullable<NatsOptions["authenticator"]> {
  const read = (): Uint8Array => readFileSync(file);
  try {
    read();
  } catch (error) {
    throw new UsageError(`The file with the credentials cannot be read: ${(error as Error).message}`, { cause: error });
  }
  const { credsAuthenticator } = loadClient();
  return credsAuthenticator(read);
}

interface Address {
  readonly server: string;
  readonly isTls: boolean;
  readonly user: string;
  readonly password: string;
  readonly secrets: readonly string[];
}

function parseAddress(text: string): Address {
  const full = text.includes("://") ? text : `nats://${text}`;
  const url = URL.canParse(full) ? new URL(full) : undefined;
  if (url === undefined || url.host === "")
    throw new UsageError("NATS: expected addresses such as nats://host:4222, with commas between them.");
  const { protocol, host, username, password } = url;
  const raw = password === "" ? username : password;
  return {
    server: `${protocol}//${host}`,
    isTls: protocol === "tls:",
    user: decoded(username),
    password: decoded(password),
    secrets: [raw, decoded(raw)],
  };
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
