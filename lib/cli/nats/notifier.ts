import { type NatsOptions, nats } from "../../nats/index";
import { asUsage } from "../failure";
import { credentialsFrom, type NatsAccess, parseServers } from "./servers";

/** What every command takes of NATS. */
export interface NatsCliOptions {
  readonly nats?: string;
  readonly natsCreds?: string;
  readonly natsPrefix?: string;
  readonly natsShards?: number;
}

type Environment = Readonly<Record<string, string | undefined>>;

const given = (text: string | undefined): string | undefined => (text === "" ? undefined : text);

/**
 * How to reach NATS, by the options or else the environment.
 *
 * @throws `UsageError` An address is none. It is not repeated.
 */
export function natsAccess(options: NatsCliOptions, env: Environment): NatsAccess {
  return parseServers(given(options.nats) ?? given(env["NATS_URL"]) ?? "127.0.0.1:4222");
}

/**
 * Creates the notifier for NATS. A wrong option is reported in the words of the library, which may repeat its value.
 *
 * @throws `UsageError` An option does not fit, or the file with the credentials cannot be read.
 */
export function createNotifier(
  access: NatsAccess,
  { natsCreds, natsPrefix, natsShards }: NatsCliOptions,
  env: Environment,
): ReturnType<typeof nats> {
  const file = given(natsCreds) ?? given(env["NATS_CREDS"]);
  const options: NatsOptions = {
    ...access.options,
    ...(file === undefined ? {} : { authenticator: credentialsFrom(file) }),
    ...(natsPrefix === undefined ? {} : { prefix: natsPrefix }),
    ...(natsShards === undefined ? {} : { shards: natsShards }),
  };
  return asUsage(() => nats(options));
}
