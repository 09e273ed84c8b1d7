// The fields of cluster 0 and of the snapshot table by name, with their values in words, for the
// hex page.

package import Qcow
import QcowFormat
import Storage

/// The header cluster, field by field.
package struct HeaderFields {
  /// In the order of the file; what the fields mean stands in their values.
  package private(set) var list: [ByteField] = []

  /// Reads the header cluster, 2 MiB at most; there are no fields if it cannot be read.
  package init(_ image: Image) {
    let header = image.header
    let geometry = image.geometry
    let length = Int(min(geometry.clusterSize, 1 << 21))
    guard let bytes = try? image.storage.bytes(at: 0, count: length) else { return }
    addFixed(header, bytes)
    let end = addExtensions(
      Int(header.extensionsStart), Int(min(header.extensionsEnd, UInt64(length))), bytes)
    var last = end
    if header.backingFileOffset != 0 {
      let start = Int(min(header.backingFileOffset, UInt64(length)))
      let stop = min(length, start + Int(min(header.backingFileSize, 1023)))
      if last < start { add("unused", last, start - last, "") }
      if start < stop {
        add("backing file name", start, stop - start, ByteText.text(bytes[start..<stop]))
      }
      last = max(last, stop)
    }
    if last < length { add("unused", last, length - last, "") }
  }

  private mutating func add(_ name: String, _ start: Int, _ count: Int, _ value: String) {
    guard count > 0 else { return }
    list.append(
      ByteField(
        structure: "header", name: name, range: HostOffset(UInt64(start))..<HostOffset(UInt64(start + count)),
        value: value, state: .header))
  }

  private mutating func addFixed(_ header: Header, _ bytes: [UInt8]) {
    func hex(_ at: Int) -> String { "0x" + Notation.hex(BigEndian.u64(bytes, at)) }
    func number(_ at: Int) -> String { String(BigEndian.u32(bytes, at)) }
    add("magic", 0, 4, "QFI\\xfb")
    add("version", 4, 4, number(4))
    add("backing_file_offset", 8, 8, BigEndian.u64(bytes, 8) == 0 ? "no backing file" : hex(8))
    add("backing_file_size", 16, 4, "\(number(16)) bytes")
    add("cluster_bits", 20, 4, "\(number(20)): clusters of \(Notation.human(header.geometry.clusterSize))")
    add("size", 24, 8, "\(BigEndian.u64(bytes, 24)) bytes, \(Notation.human(BigEndian.u64(bytes, 24)))")
    let crypt = BigEndian.u32(bytes, 32)
    add(
      "crypt_method", 32, 4,
      crypt == 0 ? "none" : crypt == 1 ? "AES (legacy)" : crypt == 2 ? "LUKS" : "unknown \(crypt)")
    add("l1_size", 36, 4, counted(BigEndian.u32(bytes, 36), "entry", "entries"))
    add("l1_table_offset", 40, 8, hex(40))
    add("refcount_table_offset", 48, 8, hex(48))
    add("refcount_table_clusters", 56, 4, number(56))
    add("nb_snapshots", 60, 4, number(60))
    add("snapshots_offset", 64, 8, hex(64))
    guard header.version >= 3 else { return }
    add("incompatible_features", 72, 8, Self.bits(header.incompatible.rawValue, .incompatible))
    add("compatible_features", 80, 8, Self.bits(header.compatible.rawValue, .compatible))
    add("autoclear_features", 88, 8, Self.bits(header.autoclear.rawValue, .autoclear))
    add("refcount_order", 96, 4, "\(number(96)): refcounts of \(header.geometry.refcountBits) bits")
    add("header_length", 100, 4, "\(number(100)) bytes")
    let length = Int(header.headerLength)
    if length > 104 {
      let type = header.compressionType
      add("compression_type", 104, 1, type == 0 ? "zlib" : type == 1 ? "zstd" : "unknown \(type)")
      add("padding", 105, min(length, 112) - 105, "")
    }
    if length > 112 { add("unknown fields", 112, length - 112, "\(length - 112) bytes, kept") }
  }

  private static func bits(_ value: UInt64, _ kind: FeatureName.Kind) -> String {
    if value == 0 { return "none" }
    var words: [String] = []
    for bit in 0..<64 where value & 1 << UInt64(bit) != 0 {
      let known = FeatureName.standard.first { $0.kind == kind.rawValue && Int($0.bit) == bit }
      words.append(known?.name ?? "unknown bit \(bit)")
    }
    return words.joined(separator: ", ")
  }

  private mutating func addExtensions(_ start: Int, _ end: Int, _ bytes: [UInt8]) -> Int {
    var at = start
    while at + 8 <= min(end, bytes.count) {
      let type = BigEndian.u32(bytes, at)
      let count = Int(BigEndian.u32(bytes, at + 4))
      if type == HeaderExtension.endType {
        add("extensions: end", at, 8, "")
        return at + 8
      }
      guard count <= bytes.count - at - 8 else { return at }
      let name = Self.name(type)
      add(
        "extension header: \(name)", at, 8, "type 0x\(Notation.hex(UInt64(type), width: 8)), \(count) bytes")
      let text = type == HeaderExtension.backingFormatType || type == HeaderExtension.dataFileNameType
      let data = bytes[(at + 8)..<(at + 8 + count)]
      if type == HeaderExtension.featureNamesType {
        addNames(at + 8, Array(data))
      } else {
        add(
          "extension: \(name)", at + 8, count, text ? ByteText.text(data) : "\(count) bytes"
        )
      }
      let padded = (count + 7) & ~7
      add("padding", at + 8 + count, min(padded - count, bytes.count - at - 8 - count), "")
      at += 8 + padded
    }
    return min(at, bytes.count)
  }

  private mutating func addNames(_ start: Int, _ data: [UInt8]) {
    let names = FeatureName.parse(data)
    let sets = ["incompatible", "compatible", "autoclear"]
    for (index, name) in names.enumerated() {
      let set = Int(name.kind) < sets.count ? sets[Int(name.kind)] : "set \(name.kind)"
      add(
        "feature name", start + index * FeatureName.entrySize, FeatureName.entrySize,
        "\(set) bit \(name.bit): \(name.name)")
    }
    let rest = data.count - names.count * FeatureName.entrySize
    add("extension: feature names", start + data.count - rest, rest, "incomplete entry")
  }

  private static func name(_ type: UInt32) -> String {
    switch type {
    case HeaderExtension.backingFormatType: "backing format"
    case HeaderExtension.featureNamesType: "feature names"
    case HeaderExtension.bitmapsType: "bitmaps"
    case HeaderExtension.encryptionType: "encryption header"
    case HeaderExtension.dataFileNameType: "data file name"
    case HeaderExtension.pinType: "pin (qatlas)"
    case HeaderExtension.relocationType: "clusters are being moved (qatlas)"
    default: "unknown"
    }
  }
}

/// The snapshot table, field by field.
struct SnapshotFields {
  private(set) var list: [ByteField] = []

  init(_ image: Image) {
    var place = image.header.snapshotsOffset
    for (number, snapshot) in image.snapshots.prefix(4096).enumerated() {
      let name = snapshot.name.isEmpty ? snapshot.id : snapshot.name
      func add(_ field: String, _ start: Int, _ count: Int, _ value: String) {
        guard count > 0 else { return }
        let offset = HostOffset(place) + UInt64(start)
        list.append(
          ByteField(
            structure: "snapshot \(number) \"\(name)\"", name: field, range: offset..<offset + UInt64(count),
            value: value, state: .snapshotTable))
      }
      let extra = Int(snapshot.extraDataSize)
      let idLength = snapshot.id.utf8.count
      add("l1_table_offset", 0, 8, "0x" + Notation.hex(snapshot.l1TableOffset))
      add("l1_size", 8, 4, counted(snapshot.l1Size, "entry", "entries"))
      add("id_str_size", 12, 2, "\(idLength)")
      add("name_size", 14, 2, "\(snapshot.name.utf8.count)")
      add("date_sec", 16, 4, "\(snapshot.seconds)")
      add("date_nsec", 20, 4, "\(snapshot.nanoseconds)")
      add("vm_clock_nsec", 24, 8, "\(snapshot.vmClock)")
      add("vm_state_size", 32, 4, "\(snapshot.vmStateSize) bytes")
      add("extra_data_size", 36, 4, "\(extra)")
      add("extra data", 40, extra, "")
      add("id and name", 40 + extra, snapshot.entrySize - 40 - extra, "\(snapshot.id) \(snapshot.name)")
      place &+= UInt64(max(SnapshotEntry.fixedSize, snapshot.entrySize))
    }
  }
}
