export type {
  ListenReport,
  ListenStatus,
  NotificationKind,
  NotificationPublisher,
  NotificationSelection,
  NotificationSource,
  Notifier,
  NotifierChannel,
  NotifierChannelOptions,
  SubscribedKeys,
} from "./notifier";
export type { Notification, PayloadName } from "./payload";
export type { StoredResult } from "../value/stored-result";
