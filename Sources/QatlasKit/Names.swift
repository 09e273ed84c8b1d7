// The types of the targets below that the library hands out, under its own name: one import is enough.

public import Qcow
public import QcowFormat

/// A stretch of the disk in one state.
public typealias Extent = Qcow.Extent
/// What a check found.
public typealias CheckResult = Qcow.CheckResult
/// The sizes of an image and what follows from them.
public typealias Geometry = QcowFormat.Geometry
/// The fixed fields of a header.
public typealias Header = QcowFormat.Header
/// One internal snapshot.
public typealias SnapshotEntry = QcowFormat.SnapshotEntry
