/** Receives messages for operators, each as one string: `console`, pino, winston and similar loggers fit. */
export interface Logger {
  info(message: string): void;
  warn(message: string): void;
  error(message: string): void;
}
