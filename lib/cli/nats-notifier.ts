import { readFileSync } from "node:fs";
import type { Notifier } from "../index";
import { loadClient } from "../nats/nats-connection";
import { type NatsOptions, nats } from "../nats/index";
import { asUsage, UsageError } from "./exit-codes";
import { percentDecoded, type Secrets } from "./text";

/** The NATS options of every command. */
export interface NatsCliOptions {
  readonly nats?: string;
  readonly natsCreds?: string;
  readonly natsPrefix?: string;
  readonly natsShards?: number;
}

/** Servers, login, and the secrets that must never be printed. */
export interface NatsAccess {
  readonly options: Pick<NatsOptions, "servers" | "user" | "pass" | "token" | "tls">;
  readonly secrets: readonly string[];
}

/**
 * Creates the notifier for NATS from the options, or else the environment. It connects when it is first used.
 *
 * @throws {@link UsageError} An option is invalid, or the credentials file cannot be read.
 */
export async function createNotifier(
  { nats: servers, natsCreds, natsPrefix, natsShards }: NatsCliOptions,
  env: Readonly<Record<string, string | undefined>>,
  secrets: Secrets,
): Promise<Notifier> {
  const access = parseServers(servers || env["NATS_URL"] || "127.0.0.1:4222");
  // Before the other options are checked: the message about one of them may repeat a text that is also a password.
  secrets.add(access.secrets);
  const file = natsCreds || env["NATS_CREDS"];
  const options: NatsOptions = {
    ...access.options,
    ...(file ? { authenticator: credentialsFrom(file) } : {}),
    ...(natsPrefix === undefined ? {} : { prefix: natsPrefix }),
    ...(natsShards === undefined ? {} : { shards: natsShards }),
  };
  return asUsage(() => nats(options));
}

/**
 * Parses addresses separated by commas, such as `nats://user:password@one:4222,nats://two:4222`. The NATS client takes
 * the login apart from the addresses. A user name without a password is a token.
 *
 * @throws {@link UsageError} An address is invalid. The message does not repeat it, since it may contain a password.
 */
export function parseServers(text: string): NatsAccess {
  const urls = text.split(",").map((address) => parseAddress(address.trim()));
  const servers = urls.map(({ protocol, host }) => `${protocol}//${host}`);
  // The client would otherwise fall back to an unencrypted connection.
  const tls = urls.some(({ protocol }) => protocol === "tls:") ? { tls: {} } : {};
  const login = urls.find(({ username }) => username !== "");
  const secrets = urls.map(({ username, password }) => password || username);
  return {
    options: { servers, ...tls, ...(login === undefined ? {} : credentialsIn(login)) },
    secrets: secrets.flatMap((secret) => [secret, percentDecoded(secret)]),
  };
}

function parseAddress(text: string): URL {
  const address = text.includes("://") ? text : `nats://${text}`;
  const url = URL.canParse(address) ? new URL(address) : undefined;
  if (url === undefined || url.host === "")
    throw new UsageError("NATS: expected addresses such as nats://host:4222, separated by commas.");
  return url;
}

function credentialsIn({ username, password }: URL): Pick<NatsOptions, "user" | "pass" | "token"> {
  const user = percentDecoded(username);
  return password === "" ? { token: user } : { user, pass: percentDecoded(password) };
}

/** Authenticates with a credentials file of `nsc`, which is read for each connection since it may be renewed. */
function credentialsFrom(file: string): NonNullable<NatsOptions["authenticator"]> {
  const read = (): Uint8Array => readFileSync(file);
  try {
    read();
  } catch (error) {
    throw new UsageError(`Cannot read the NATS credentials file: ${(error as Error).message}`, { cause: error });
  }
  return loadClient().credsAuthenticator(read);
}
