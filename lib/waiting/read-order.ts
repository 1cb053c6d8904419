/** Which of several reads of the same key that are under way at once is the latest. Remembers keys only while an older read is under way. */
export class ReadOrder {
  /** By the order in which they began. */
  readonly #underWay = new Set<number>();
  /** The latest read that found a key, of those that have ended while an older one went on. */
  readonly #foundBy = new Map<string, number>();
  #begun = 0;

  /** Gives the place of a read that begins now. */
  begin(): number {
    this.#begun += 1;
    this.#underWay.add(this.#begun);
    return this.#begun;
  }

  /** Takes down that a read found a key; tells whether one that began later has found it before, so that this one may be the older news. */
  isOvertaken(place: number, key: string): boolean {
    if ((this.#foundBy.get(key) ?? 0) > place) return true;
    if (this.#hasOlder(place)) this.#foundBy.set(key, place);
    return false;
  }

  end(place: number): void {
    this.#underWay.delete(place);
    if (!this.#hasOlder(place)) this.#foundBy.clear();
  }

  #hasOlder(place: number): boolean {
    for (const other of this.#underWay) if (other < place) return true;
    return false;
  }
}
