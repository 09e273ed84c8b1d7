// Which guest ranges lie where in the file, as `qatlas map` tells it: the extents of `qemu-img map`,
// merged by its rules, one line each, streamed while they are found.

import Cartography
package import Qcow
import QcowFormat
import Storage

/// Walks an image and prints its extents.
package struct MapText {
  /// Lines for people, or one JSON list.
  package enum Format: Sendable { case human, json }

  /// The disk and what lies below it; never empty.
  let layers: [any GuestLayer]
  let format: Format

  /// The map of an image and the layers below it.
  package init(_ image: Image, format: Format) { self.init(image.layers, format: format) }

  package init(_ layers: [any GuestLayer], format: Format) {
    self.layers = layers
    self.format = format
  }

  /// Prints the extents from `start` on, `length` bytes at most, in pieces through `output`.
  ///
  /// - Throws: ``ImageError`` for a table that cannot be read, and in lines for people for clusters that have
  ///   no place.
  package func write(from start: UInt64, length: UInt64?, to output: (String) -> Void) throws(ImageError) {
    let size = layers.first?.virtualSize ?? 0
    let left = size > start ? size - start : 0
    let end = start + min(left, length ?? left)
    switch format {
    case .human: output("Offset          Length          Mapped to       File\n")
    case .json: output("[")
    }
    var walk = ChainWalk(layers)
    let names = walk.fileNames.map { Escaping.human($0) }
    try walk.each(from: start, to: end) { (extent, isLast) throws(ImageError) in
      try print(extent, names, isLast: isLast, output)
    }
    if format == .json { output("]\n") }
  }

  private func print(
    _ extent: Extent, _ fileNames: [String], isLast: Bool, _ output: (String) -> Void
  ) throws(ImageError) {
    let fileName = fileNames[extent.depth]
    switch format {
    case .human:
      if extent.isMissing && extent.length > 0 {
        output(
          Self.column(extent.start) + Self.column(extent.length)
            + "-               needs the missing layer '\(fileName)'\n")
      }
      guard extent.isData, !extent.isZero else { return }
      guard let offset = extent.offset else {
        throw ImageError(.unsupported, "File contains external, encrypted or compressed clusters.")
      }
      output(Self.column(extent.start) + Self.column(extent.length) + Self.column(offset) + fileName + "\n")
    case .json:
      // The line of the genuine tool, made without a tree: a large image has millions of them.
      var line = "{ \"start\": \(extent.start), \"length\": \(extent.length), \"depth\": \(extent.depth)"
      line += ", \"present\": \(extent.isPresent), \"zero\": \(extent.isZero), \"data\": \(extent.isData)"
      line += ", \"compressed\": \(extent.isCompressed)"
      if let offset = extent.offset { line += ", \"offset\": \(offset)" }
      if extent.isMissing { line += ", \"missing\": true" }
      output(line + (isLast ? "}" : "},\n"))
    }
  }

  /// A number in hexadecimal, 16 columns wide; zero has no "0x".
  private static func column(_ value: UInt64) -> String {
    let text = value == 0 ? "0" : "0x" + Notation.hex(value)
    return text + String(repeating: " ", count: max(0, 16 - text.utf8.count))
  }
}
