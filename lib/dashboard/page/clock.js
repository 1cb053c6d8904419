let offsetMs = 0;

/** Notes the time on the server's clock. */
export function setServerTime(ms) {
  offsetMs = ms - Date.now();
}

/** The time on the server's clock, in milliseconds since 1970. */
export const serverNow = () => Date.now() + offsetMs;
