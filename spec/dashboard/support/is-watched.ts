import type { PostgresResultBackend } from "kojin-postgres";

/** Tells whether a page of a dashboard is open, or anything else needs the notifications of this backend. */
export const isWatched = ({ core: { notifications } }: PostgresResultBackend): boolean =>
  "isActive" in notifications && notifications.isActive === true;
