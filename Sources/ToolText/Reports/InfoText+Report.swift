// The same facts as a tree for JSON, and the part that only the format knows: versions, feature
// bits, bitmaps and encryption.

import Glibc
import Qcow
import QcowFormat
import Storage

extension InfoText {
  /// The object that `--output=json` prints.
  package var report: ReportValue {
    if case .missing(let reason) = content {
      return .object([.init("filename", .string(name)), .init("missing", .string(reason))])
    }
    var members = limitMember(limits) + [.init("children", .array([child]))]
    func add(_ name: String, _ value: ReportValue) { members.append(.init(name, value)) }
    guard case .qcow2(let image) = content else {
      add("virtual-size", .number(sectorBytes))
      add("filename", .string(name))
      add("format", .string("raw"))
      add("actual-size", .number(storage.allocatedBytes))
      add("dirty-flag", .bool(false))
      return .object(members)
    }
    if image.backingFileName != nil, let format = image.extensions.backingFormat {
      add("backing-filename-format", .string(format))
    }
    if !image.snapshots.isEmpty { add("snapshots", .array(image.snapshots.map(Self.report(of:)))) }
    add("virtual-size", .number(image.geometry.virtualSize))
    add("filename", .string(name))
    add("cluster-size", .number(image.geometry.clusterSize))
    add("format", .string("qcow2"))
    add("actual-size", .number(storage.allocatedBytes))
    add("format-specific", .object([.init("type", .string("qcow2")), .init("data", .object(details))]))
    if let path = backingPath { add("full-backing-filename", .string(path)) }
    if image.header.cryptMethod != 0 { add("encrypted", .bool(true)) }
    if let backing = image.backingFileName { add("backing-filename", .string(backing)) }
    add("dirty-flag", .bool(image.header.incompatible.contains(.dirty)))
    return .object(members)
  }

  private var sectorBytes: UInt64 {
    storage.length > UInt64.max - 511 ? storage.length : (storage.length + 511) & ~511
  }

  /// The file below the format.
  private var child: ReportValue {
    let members: [ReportValue.Member] = [
      .init("children", .array([])),
      .init("virtual-size", .number(sectorBytes)),
      .init("filename", .string(name)),
      .init("format", .string("file")),
      .init("actual-size", .number(storage.allocatedBytes)),
      .init("format-specific", .object([.init("type", .string("file")), .init("data", .object([]))])),
      .init("dirty-flag", .bool(false)),
    ]
    return .object([
      .init("name", .string("file")), .init("info", .object(limitMember(fileLimits) + members)),
    ])
  }

  private func limitMember(_ limits: [ReportValue.Member]) -> [ReportValue.Member] {
    showsLimits ? [.init("limits", .object(limits))] : []
  }

  /// What requests to the disk are aligned to, in bytes: ciphers work on sectors, a zero-write needs no copy from the
  /// grain of a mapping on, a discard from a cluster on.
  var limits: [ReportValue.Member] {
    guard case .qcow2(let image) = content else { return fileLimits }
    let sector: UInt64 = image.header.cryptMethod == 0 ? 1 : 512
    return [
      .init("write-zeroes-alignment", .number(image.geometry.subclusterSize)),
      .init("request-alignment", .number(sector)),
      .init("min-mem-alignment", .number(1)),
      .init("discard-alignment", .number(image.geometry.clusterSize)),
    ] + fileLimits.suffix(2)
  }

  /// What requests to the file are aligned to: nothing, as it goes through the page cache.
  var fileLimits: [ReportValue.Member] {
    [
      .init("request-alignment", .number(1)),
      .init("min-mem-alignment", .number(1)),
      .init("opt-mem-alignment", .number(UInt64(max(4096, getpagesize())))),
      // IOV_MAX of this system.
      .init("max-iov", .number(1024)),
    ]
  }

  private static func report(of snapshot: SnapshotEntry) -> ReportValue {
    var members: [ReportValue.Member] = []
    if let icount = snapshot.icount, icount != .max { members.append(.init("icount", .number(icount))) }
    members.append(.init("vm-clock-nsec", .number(snapshot.vmClock % 1_000_000_000)))
    members.append(.init("name", .string(snapshot.name)))
    members.append(.init("date-sec", .number(UInt64(snapshot.seconds))))
    members.append(.init("date-nsec", .number(UInt64(snapshot.nanoseconds))))
    members.append(.init("vm-clock-sec", .number(snapshot.vmClock / 1_000_000_000)))
    members.append(.init("id", .string(snapshot.id)))
    members.append(.init("vm-state-size", .number(snapshot.vmStateSize)))
    return .object(members)
  }

  /// What only the format knows, in the order in which it is shown.
  static func details(of image: Image) throws(ImageError) -> [ReportValue.Member] {
    let header = image.header
    var members: [ReportValue.Member] = []
    func add(_ name: String, _ value: ReportValue) { members.append(.init(name, value)) }
    add("compat", .string(header.version < 3 ? "0.10" : "1.1"))
    add("compression-type", .string(header.compressionType == 1 ? "zstd" : "zlib"))
    if header.version >= 3 { add("lazy-refcounts", .bool(header.compatible.contains(.lazyRefcounts))) }
    if let bitmaps = image.extensions.bitmaps { add("bitmaps", .array(try report(of: bitmaps, image))) }
    add("refcount-bits", .number(UInt64(image.geometry.refcountBits)))
    if header.version >= 3, header.incompatible.contains(.externalDataFile),
      let dataFile = image.extensions.dataFileName
    {
      add("data-file", .string(dataFile))
    }
    if let encryption = try encryption(of: image) { add("encrypt", encryption) }
    if header.version >= 3 {
      if header.incompatible.contains(.externalDataFile) {
        add("data-file-raw", .bool(header.autoclear.contains(.rawExternalData)))
      }
      add("corrupt", .bool(header.incompatible.contains(.corrupt)))
      add("extended-l2", .bool(image.geometry.hasExtendedL2))
      switch image.pinState {
      case .none: break
      case .kept(let pin): add("pinned", pinned(pin, isVerified: true))
      case .unverified(let pin): add("pinned", pinned(pin, isVerified: false))
      }
    }
    return members
  }

  private static func pinned(_ pin: PinExtension, isVerified: Bool) -> ReportValue {
    .object([
      .init("shift", .number(pin.shift)), .init("reserve", .number(pin.reserve)),
      .init("verified", .bool(isVerified)),
    ])
  }

  private static func encryption(of image: Image) throws(ImageError) -> ReportValue? {
    switch image.header.cryptMethod {
    case 0: return nil
    case 1: return .object([.init("format", .string("aes"))])
    default:
      guard let place = image.extensions.encryption else {
        return .object([.init("format", .string("luks"))])
      }
      let bytes = try read(image, place.offset, LUKSHeader.size)
      return (try? LUKSHeader(parsing: bytes))?.report ?? .object([.init("format", .string("luks"))])
    }
  }

  private static func report(of bitmaps: BitmapsExtension, _ image: Image) throws(ImageError) -> [ReportValue]
  {
    // The extension's own limits were checked when it was read: 64 MiB at most.
    let inside =
      bitmaps.directoryOffset < image.storage.length
      && bitmaps.directorySize <= image.storage.length - bitmaps.directoryOffset
    guard inside else {
      throw ImageError(
        .corrupt, "the bitmap directory lies behind the end of the file", at: .bitmaps,
        HostOffset(bitmaps.directoryOffset))
    }
    let directory = try read(image, bitmaps.directoryOffset, Int(clamping: bitmaps.directorySize))
    var result: [ReportValue] = []
    var at = 0
    for index in 0..<bitmaps.count {
      guard let entry = BitmapDirectoryEntry(parsing: directory, at: at) else {
        throw ImageError(
          .corrupt, "bitmap directory entry \(index) does not fit into the directory", at: .bitmaps,
          index: UInt64(index), HostOffset(bitmaps.directoryOffset &+ UInt64(at)))
      }
      var flags: [ReportValue] = []
      if entry.isInUse { flags.append(.string("in-use")) }
      if entry.recordsWrites { flags.append(.string("auto")) }
      let granularity: UInt64 = 1 << UInt64(min(entry.granularityBits, 63))
      result.append(
        .object([
          .init("flags", .array(flags)), .init("name", .string(entry.name)),
          .init("granularity", .number(granularity)),
        ]))
      at += entry.entrySize
    }
    return result
  }

  private static func read(_ image: Image, _ offset: UInt64, _ count: Int) throws(ImageError) -> [UInt8] {
    do throws(StorageError) {
      return try image.storage.bytes(at: offset, count: count)
    } catch {
      throw ImageError(error)
    }
  }
}
