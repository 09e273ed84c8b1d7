// What an image is, as `qatlas info` tells it: text and JSON in the words of `qemu-img info`, from
// the header, the extensions and the snapshot table alone. No other file is needed.

import Cartography
import Glibc
package import Qcow
package import QcowFormat
package import Storage

/// One file and what was found in it.
package struct InfoText {
  /// A file is an image, or bytes without a format.
  package enum Content {
    case qcow2(Image)
    case raw
    /// Nothing, because it could not be opened.
    case missing(reason: String)
  }

  /// The path of the file.
  package let name: String
  let storage: any Storage
  let content: Content
  /// Members of "format-specific"; empty for raw files.
  let details: [ReportValue.Member]
  /// Whether the alignments of requests are told.
  let showsLimits: Bool

  /// Collects what the texts need; fails only if a list that is to be shown cannot be read. `showsLimits` adds what
  /// requests are aligned to.
  ///
  /// - Throws: ``ImageError`` for a list that is to be shown and cannot be read.
  package init(
    name: String, storage: any Storage, content: Content, showsLimits: Bool = false
  ) throws(ImageError) {
    self.name = name
    self.storage = storage
    self.content = content
    self.showsLimits = showsLimits
    if case .qcow2(let image) = content {
      details = try Self.details(of: image)
    } else {
      details = []
    }
  }

  /// A layer that could not be opened.
  package init(missing name: String, reason: String) {
    self.name = name
    storage = MemoryStorage(name: name)
    content = .missing(reason: reason)
    details = []
    showsLimits = false
  }

  private var image: Image? {
    if case .qcow2(let image) = content { return image }
    return nil
  }

  /// The size of the disk, or of the file in whole sectors.
  private var virtualSize: UInt64 { image?.geometry.virtualSize ?? sectors }
  private var sectors: UInt64 {
    storage.length > UInt64.max - 511 ? storage.length : (storage.length + 511) & ~511
  }
  private var format: String { image == nil ? "raw" : "qcow2" }

  // MARK: The backing file

  /// The name of the backing file as seen from here: relative names are relative to the image.
  package var backingPath: String? {
    guard let backing = image?.backingFileName else { return nil }
    return LayerName.combine(name, backing)
  }

  /// The name of the backing file as the image has it.
  package var backingName: String? { image?.backingFileName }

  /// The format that the image names for its backing file.
  package var backingFormat: String? { image?.extensions.backingFormat }

  // MARK: For people

  /// The lines of `qemu-img info`.
  package var human: String {
    if case .missing(let reason) = content {
      return "image: \(Escaping.human(name))\nmissing: \(Escaping.human(reason))\n"
    }
    var text = facts(
      "image", name, "file format", format, "virtual size", virtualSize, indent: "")
    if let image {
      if image.header.cryptMethod != 0 { text += "encrypted: yes\n" }
      text += "cluster_size: \(image.geometry.clusterSize)\n"
      if image.header.incompatible.contains(.dirty) { text += "cleanly shut down: no\n" }
      text += backingLines(image)
    }
    text += limitLines(limits, indent: "")
    if let image {
      if !image.snapshots.isEmpty { text += Self.snapshotList(image.snapshots) }
      text += "Format specific information:\n" + ReportValue.object(details).human(indent: 4)
    }
    text += "Child node '/file':\n"
    text += facts("filename", name, "protocol type", "file", "file length", sectors, indent: "    ")
    return text + limitLines(fileLimits, indent: "    ")
  }

  private func limitLines(_ limits: [ReportValue.Member], indent: String) -> String {
    guard showsLimits else { return "" }
    return indent + "Block limits:\n" + ReportValue.object(limits).human(indent: indent.utf8.count + 4)
  }

  private func facts(
    _ nameLabel: String, _ name: String, _ formatLabel: String, _ format: String, _ sizeLabel: String,
    _ size: UInt64, indent: String
  ) -> String {
    indent + "\(nameLabel): \(Escaping.human(name))\n" + indent + "\(formatLabel): \(format)\n"
      + indent + "\(sizeLabel): \(Notation.human(size)) (\(size) bytes)\n"
      + indent + "disk size: \(Notation.human(storage.allocatedBytes))\n"
  }

  private func backingLines(_ image: Image) -> String {
    guard let backing = image.backingFileName, let path = backingPath else { return "" }
    var text = "backing file: \(Escaping.human(backing))"
    if path != backing { text += " (actual path: \(Escaping.human(path)))" }
    text += "\n"
    if let format = image.extensions.backingFormat {
      text += "backing file format: \(Escaping.human(format))\n"
    }
    return text
  }

  /// The table of internal snapshots with its headline.
  package static func snapshotList(_ snapshots: [SnapshotEntry]) -> String {
    var text = "Snapshot list:\n"
    text += "ID      TAG               VM_SIZE                DATE        VM_CLOCK     ICOUNT\n"
    for snapshot in snapshots {
      let icount = snapshot.icount.flatMap { $0 == .max ? nil : String($0) } ?? "--"
      text += left(Escaping.human(snapshot.id), 7) + " " + left(Escaping.human(snapshot.name), 16) + " "
      text += right(Notation.human(snapshot.vmStateSize), 8) + right(date(snapshot.seconds), 20)
      text += right(clock(snapshot.vmClock), 16) + right(icount, 11) + "\n"
    }
    return text
  }

  private static func left(_ text: String, _ width: Int) -> String {
    text + String(repeating: " ", count: max(0, width - text.utf8.count))
  }

  private static func right(_ text: String, _ width: Int) -> String {
    String(repeating: " ", count: max(0, width - text.utf8.count)) + text
  }

  private static func pad(_ value: Int, _ width: Int = 2) -> String {
    let text = String(value)
    return String(repeating: "0", count: max(0, width - text.utf8.count)) + text
  }

  /// Local time, "2026-01-12 09:14:00".
  package static func date(_ seconds: UInt32) -> String {
    var time = time_t(seconds)
    var parts = unsafe tm()
    guard unsafe localtime_r(&time, &parts) != nil else { return "?" }
    let day = unsafe [Int(parts.tm_year) + 1900, Int(parts.tm_mon) + 1, Int(parts.tm_mday)]
    let hour = unsafe [Int(parts.tm_hour), Int(parts.tm_min), Int(parts.tm_sec)]
    return day.map { pad($0) }.joined(separator: "-") + " " + hour.map { pad($0) }.joined(separator: ":")
  }

  /// Nanoseconds as "0000:00:00.000".
  static func clock(_ nanoseconds: UInt64) -> String {
    let seconds = Int(nanoseconds / 1_000_000_000)
    let milliseconds = Int(nanoseconds / 1_000_000 % 1000)
    return "\(pad(seconds / 3600, 4)):\(pad(seconds / 60 % 60)):\(pad(seconds % 60)).\(pad(milliseconds, 3))"
  }
}
