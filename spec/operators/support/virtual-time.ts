import { Observable } from "rxjs";
import { TestScheduler } from "rxjs/testing";

/** What a stream did, and at which millisecond. */
export type Messages = ReturnType<typeof TestScheduler.parseMarbles>;

/**
 * Marbles, as `TestScheduler.run` reads them, on Jest's fake clock: one character is a millisecond. The scheduler's own
 * clock drives RxJS only, and would run ahead of promises and of a backend's time-outs.
 */
export class VirtualTime {
  readonly #startedAt = performance.now();

  /** A hot stream of the marbles' letters. */
  source(marbles: string, error?: Error): Observable<string> {
    return new Observable((subscriber) => {
      for (const { frame, notification } of parse(marbles, {}, error)) {
        this.#schedule(frame, () => {
          if (notification.kind === "N") subscriber.next(notification.value as string);
          else if (notification.kind === "E") subscriber.error(notification.error);
          else subscriber.complete();
        });
      }
    });
  }

  /** Calls `act` with each letter at its time. */
  at(marbles: string, act: (letter: string) => unknown): void {
    for (const { frame, notification } of parse(marbles)) {
      if (notification.kind === "N") this.#schedule(frame, () => act(notification.value as string));
    }
  }

  /** What a stream emits within a second, to the end of it. */
  async record(stream$: Observable<unknown>): Promise<Messages> {
    const messages: Messages = [];
    const note = (notification: Messages[number]["notification"]): void => {
      messages.push({ frame: performance.now() - this.#startedAt, notification });
    };
    const subscription = stream$.subscribe({
      next: (value) => note({ kind: "N", value, error: undefined } as Messages[number]["notification"]),
      error: (error: unknown) => note({ kind: "E", value: undefined, error } as Messages[number]["notification"]),
      complete: () => note({ kind: "C", value: undefined, error: undefined } as Messages[number]["notification"]),
    });
    await jest.advanceTimersByTimeAsync(1_000);
    subscription.unsubscribe();
    return messages;
  }

  #schedule(frame: number, work: () => unknown): void {
    setTimeout(work, frame - (performance.now() - this.#startedAt));
  }
}

/** Ten, outside of `run`. */
const framesPerMarble = TestScheduler.parseMarbles("-a")[0]?.frame ?? NaN;

/** What marbles stand for, with a value for each letter. */
export function parse(marbles: string, values: Readonly<Record<string, unknown>> = {}, error?: unknown): Messages {
  const messages = TestScheduler.parseMarbles(marbles, withDefaults(marbles, values), error, false, true);
  return messages.map((message) => ({ ...message, frame: message.frame / framesPerMarble }));
}

/** A letter without a value stands for itself. */
function withDefaults(marbles: string, values: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const letters = marbles.match(/[a-z]/gi) ?? [];
  return { ...Object.fromEntries(letters.map((letter) => [letter, letter])), ...values };
}
