import { crc32 } from "node:zlib";
import { channelOf } from "../notifications/payload";
import type { NotificationKind } from "../notifications/notifier";

/**
 * The subjects of one schema: `<prefix>.<channel>.tasks.<shard>`, `….groups.<shard>` and `….rescan`. What is said on those of shards is said on `….tasks.all` and
 * `….groups.all` as well, in as few messages as hold it: who waits for much would otherwise get a message for each shard. Writers and waiters compute the same.
 */
export class Subjects {
  readonly shards: number;
  /** What is said on it: look at everything that is waited for. */
  readonly rescan: string;
  readonly #base: string;
  /** Made once each, when first needed. */
  readonly #names: Readonly<Record<NotificationKind, string[]>> = { tasks: [], groups: [] };

  constructor(prefix: string, schema: string, shards: number) {
    // As in Postgres a hash stands for the schema, whose name may have dots, spaces and wildcards in it.
    this.#base = `${prefix}.${channelOf(schema)}`;
    this.shards = shards;
    this.rescan = `${this.#base}.rescan`;
  }

  /** From an id to the number of its shard. */
  shardOf(id: string): number {
    return crc32(id) % this.shards;
  }

  /** The subject of a shard; that of all ids, where the number is that of the shards. */
  of(kind: NotificationKind, shard: number): string {
    return (this.#names[kind][shard] ??= `${this.#base}.${kind}.${shard === this.shards ? "all" : shard}`);
  }

  /** Whether a subject is one of these, for who is told of one that was refused. */
  has(subject: string): boolean {
    return subject.startsWith(`${this.#base}.`);
  }
}
