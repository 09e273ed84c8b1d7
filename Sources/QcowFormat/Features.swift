// Feature bits of the header and the table of names that images carry for them.
// Unknown incompatible bits forbid everything, unknown autoclear bits are cleared before a write.

import Storage

/// Incompatible feature bits: who does not know one must not open the image ("Feature bits").
package struct IncompatibleFeatures: OptionSet, Hashable, Sendable {
  /// The field as stored.
  package var rawValue: UInt64
  package init(rawValue: UInt64) { self.rawValue = rawValue }

  /// Refcounts may be too low.
  package static let dirty = Self(rawValue: 1 << 0)
  /// Any structure may be damaged; only a repair may write.
  package static let corrupt = Self(rawValue: 1 << 1)
  /// Bit 2: guest data lies in a file of its own.
  package static let externalDataFile = Self(rawValue: 1 << 2)
  /// Bit 3: the header says how clusters are compressed.
  package static let compressionType = Self(rawValue: 1 << 3)
  /// Bit 4: L2 entries have 16 bytes and a bitmap of subclusters.
  package static let extendedL2 = Self(rawValue: 1 << 4)
  /// The bits this program understands; others make an image unreadable.
  package static let known: Self = [.dirty, .corrupt, .externalDataFile, .compressionType, .extendedL2]
}

/// Compatible feature bits: unknown ones are kept and ignored ("Feature bits").
package struct CompatibleFeatures: OptionSet, Hashable, Sendable {
  /// The field as stored.
  package var rawValue: UInt64
  package init(rawValue: UInt64) { self.rawValue = rawValue }

  /// Bit 0: refcounts may wait until the image is closed, under the dirty bit.
  package static let lazyRefcounts = Self(rawValue: 1 << 0)
}

/// Autoclear feature bits: a writer clears those it does not know ("Feature bits").
package struct AutoclearFeatures: OptionSet, Hashable, Sendable {
  /// The field as stored.
  package var rawValue: UInt64
  package init(rawValue: UInt64) { self.rawValue = rawValue }

  /// The bitmaps extension is consistent with the data.
  package static let bitmaps = Self(rawValue: 1 << 0)
  /// The external data file is by itself a correct raw image.
  package static let rawExternalData = Self(rawValue: 1 << 1)
  /// Nobody has written who does not honour the pin (``PinExtension``). This program's own bit.
  package static let pinned = Self(rawValue: 1 << 63)
  /// The bits this program keeps true; a writer clears the others.
  package static let known: Self = [.bitmaps, .rawExternalData]
}

/// One line of the feature name table: which bit of which set, and what it is called.
package struct FeatureName: Equatable, Sendable {
  /// Which of the three feature fields a name is about.
  package enum Kind: UInt8, Sendable {
    case incompatible = 0
    case compatible = 1
    case autoclear = 2
  }

  /// The raw number of the set; others than those of ``Kind`` are kept and ignored.
  package var kind: UInt8
  /// The number of the bit in its field, 0 to 63.
  package var bit: UInt8
  package var name: String

  /// The name of one bit.
  package init(_ kind: Kind, _ bit: UInt8, _ name: String) {
    self.kind = kind.rawValue
    self.bit = bit
    self.name = name
  }

  /// The table that new images get, in its fixed order.
  package static let standard: [FeatureName] = [
    FeatureName(.incompatible, 0, "dirty bit"),
    FeatureName(.incompatible, 1, "corrupt bit"),
    FeatureName(.incompatible, 2, "external data file"),
    FeatureName(.incompatible, 3, "compression type"),
    FeatureName(.incompatible, 4, "extended L2 entries"),
    FeatureName(.compatible, 0, "lazy refcounts"),
    FeatureName(.autoclear, 0, "bitmaps"),
    FeatureName(.autoclear, 1, "raw external data"),
  ]

  /// The line that pinned images have besides.
  package static let pinned = FeatureName(.autoclear, 63, "pinned mapping (qatlas)")

  /// Bytes of one entry: set, bit, and 46 bytes of name.
  package static let entrySize = 48

  /// The names in the data of the header extension; a last part of an entry is left out.
  package static func parse(_ data: [UInt8]) -> [FeatureName] {
    stride(from: 0, to: data.count - data.count % entrySize, by: entrySize).map { at in
      let raw = data[(at + 2)..<(at + entrySize)].prefix { $0 != 0 }
      var name = FeatureName(.incompatible, data[at + 1], ByteText.text(raw))
      name.kind = data[at]
      return name
    }
  }

  /// The data of the header extension: 48 bytes for every name.
  package static func encode(_ names: [FeatureName]) -> [UInt8] {
    var result: [UInt8] = []
    for entry in names {
      var line = [entry.kind, entry.bit] + ByteText.bytes(entry.name).prefix(46)
      line.append(contentsOf: repeatElement(0, count: entrySize - line.count))
      result += line
    }
    return result
  }
}
