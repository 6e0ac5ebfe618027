// The wire format, docs/live.md.

export type Value = "open" | "closed" | "away" | "unknown";

export interface Status {
  timestamp: number; // milliseconds since 1970 UTC, as everywhere
  modifiedby: string;
  value: Value;
  user?: string; // of who lets everybody read the name
  note?: string;
  until?: number; // when it is expected to end
}

export interface People {
  count: number;
  names?: string[]; // of those who let everybody read them
}

/** An opening (value 1) or a closure (0) to come. */
export interface Announcement {
  id: number;
  value: 0 | 1;
  begins: number;
  ends: number;
  user: string;
  note?: string;
}

export interface Sample {
  timestamp: number;
  value: number; // °C
  modifiedby: string;
  sensor: number;
}

export interface Message {
  timestamp: number;
  user: string;
  value: string;
}

/** What every frame but a snapshot may tell, in part. */
export interface Frame {
  seq: number;
  version?: undefined;
  status?: Status;
  tempint?: Sample;
  message?: Message;
  people?: People;
  announced?: Announcement[];
  sound?: { timestamp: number; number: number; modifiedby: string };
  heard?: number;
  stale?: boolean;
}

/** The whole state: the first frame, /data, and the data block in the page. */
export interface Snapshot {
  version: 3;
  seq: number;
  status?: Status;
  tempint?: Sample;
  message?: Message;
  tempinthist?: Sample[];
  sensors?: Sample[];
  people: People;
  announced: Announcement[]; // those that are over have not gone by themselves
  heard?: number;
  stale: boolean;
}

/** How the page hears of changes. */
export type Link = "connecting" | "live" | "polling" | "offline" | "paused";
