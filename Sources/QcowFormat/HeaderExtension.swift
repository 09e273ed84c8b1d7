// Header extensions: the list of typed records between the header and the backing file name, and
// the writing of the whole of cluster 0, which has one fixed order for them.

import Storage

/// A header extension ("Header extensions").
package enum HeaderExtension: Equatable, Sendable {
  case backingFormat(String)
  case featureNames([FeatureName])
  case bitmaps(BitmapsExtension)
  case encryption(EncryptionExtension)
  case dataFileName(String)
  case pin(PinExtension)
  case relocation(RelocationExtension)
  /// A type this program does not know; kept when the header is rewritten.
  case unknown(type: UInt32, data: [UInt8])

  /// Ends the list.
  package static let endType: UInt32 = 0
  /// The format of the backing file, as text.
  package static let backingFormatType: UInt32 = 0xe279_2aca
  /// Names of feature bits.
  package static let featureNamesType: UInt32 = 0x6803_f857
  /// Where the bitmap directory lies.
  package static let bitmapsType: UInt32 = 0x2385_2875
  /// Where the LUKS header lies.
  package static let encryptionType: UInt32 = 0x0537_be77
  /// The name of the external data file.
  package static let dataFileNameType: UInt32 = 0x4441_5441
  /// "qpin"; the types of the specification are random numbers, so this one is not taken.
  package static let pinType: UInt32 = 0x7170_696e
  /// "qmov", this program's own like "qpin".
  package static let relocationType: UInt32 = 0x716d_6f76
}

/// Where the persistent bitmaps are ("Bitmaps extension").
package struct BitmapsExtension: Equatable, Sendable {
  /// Bitmaps in the directory.
  package var count: UInt32
  /// Bytes of the bitmap directory.
  package var directorySize: UInt64
  /// Where the bitmap directory begins.
  package var directoryOffset: UInt64

  package init(count: UInt32, directorySize: UInt64, directoryOffset: UInt64) {
    self.count = count
    self.directorySize = directorySize
    self.directoryOffset = directoryOffset
  }
}

/// Where the LUKS header is ("Encryption").
package struct EncryptionExtension: Equatable, Sendable {
  /// Where the encryption header begins, in bytes from the start of the file.
  package var offset: UInt64
  package var length: UInt64

  package init(offset: UInt64, length: UInt64) {
    self.offset = offset
    self.length = length
  }
}

/// The extensions as they stand in an image, and what was wrong with single ones that may be. Of two
/// extensions of one type the last counts.
package struct HeaderExtensions: Equatable, Sendable {
  /// All extensions in the order of the file, unknown ones as well.
  package var list: [HeaderExtension] = []
  /// A bitmaps extension is there but stale, because its autoclear bit is off.
  package var hasStaleBitmaps = false

  package init() {}

  /// The format of the backing file as the image names it.
  package var backingFormat: String? {
    get {
      for case .backingFormat(let name) in list.reversed() { return name }
      return nil
    }
    set {
      list.removeAll { if case .backingFormat = $0 { true } else { false } }
      if let newValue { list.append(.backingFormat(newValue)) }
    }
  }
  /// The name of the external data file as the image has it.
  package var dataFileName: String? {
    get {
      for case .dataFileName(let name) in list.reversed() { return name }
      return nil
    }
    set {
      list.removeAll { if case .dataFileName = $0 { true } else { false } }
      if let newValue { list.append(.dataFileName(newValue)) }
    }
  }
  /// Where the bitmaps are; nil without that extension.
  package var bitmaps: BitmapsExtension? {
    get {
      for case .bitmaps(let value) in list.reversed() { return value }
      return nil
    }
    set {
      list.removeAll { if case .bitmaps = $0 { true } else { false } }
      if let newValue { list.append(.bitmaps(newValue)) }
    }
  }
  /// Where the encryption header is; nil without that extension.
  package var encryption: EncryptionExtension? {
    for case .encryption(let value) in list.reversed() { return value }
    return nil
  }
  /// Where the clusters have their places, in a pinned image.
  package var pin: PinExtension? {
    get {
      for case .pin(let value) in list { return value }
      return nil
    }
    set {
      list.removeAll { if case .pin = $0 { true } else { false } }
      if let newValue { list.append(.pin(newValue)) }
    }
  }
  /// What the image mapped when its clusters began to be moved; nil unless that is under way.
  package var relocation: RelocationExtension? {
    get {
      for case .relocation(let value) in list { return value }
      return nil
    }
    set {
      list.removeAll { if case .relocation = $0 { true } else { false } }
      if let newValue { list.append(.relocation(newValue)) }
    }
  }
  /// Names of feature bits; nil without that extension.
  package var featureNames: [FeatureName]? {
    for case .featureNames(let value) in list.reversed() { return value }
    return nil
  }

  /// Where the data of all extensions of a type lie in cluster 0, leniently.
  package static func places(of wanted: UInt32, in cluster: [UInt8]) -> [Range<Int>] {
    guard cluster.count >= Header.version2Length else { return [] }
    var found: [Range<Int>] = []
    var at = BigEndian.u32(cluster, 4) < 3 ? Header.version2Length : Int(BigEndian.u32(cluster, 100))
    while at <= cluster.count - 8 {
      let type = BigEndian.u32(cluster, at)
      let length = Int(BigEndian.u32(cluster, at + 4))
      at += 8
      guard type != HeaderExtension.endType, length <= cluster.count - at else { break }
      if type == wanted { found.append(at..<at + length) }
      at += (length + 7) & ~7
    }
    return found
  }

  /// Reads the feature name table alone, leniently: it is wanted to word an error.
  package static func names(in area: [UInt8]) -> [FeatureName] {
    var found: [FeatureName] = []
    var at = 0
    while at <= area.count - 8 {
      let type = BigEndian.u32(area, at)
      let length = Int(BigEndian.u32(area, at + 4))
      at += 8
      guard type != HeaderExtension.endType, length <= area.count - at else { break }
      if type == HeaderExtension.featureNamesType {
        found = FeatureName.parse(Array(area[at..<(at + length)]))
      }
      at += (length + 7) & ~7
    }
    return found
  }

  /// Reads the list. `area` is the bytes from the end of the header to the backing file name or
  /// the end of cluster 0.
  ///
  /// - Throws: ``FormatError`` for an extension that reaches behind the area or has a length it cannot have.
  package init(parsing area: [UInt8], header: Header) throws(FormatError) {
    var at = 0
    while at < area.count {
      // An extension that begins has room for its type and length, even if it is the end marker.
      guard at <= area.count - 8 else {
        throw FormatError(.extensionTooLarge, "Header extension too large")
      }
      let type = BigEndian.u32(area, at)
      let length = Int(BigEndian.u32(area, at + 4))
      at += 8
      guard length <= area.count - at else {
        throw FormatError(.extensionTooLarge, "Header extension too large")
      }
      if type == HeaderExtension.endType { break }
      try add(type, Array(area[at..<(at + length)]), header)
      at += (length + 7) & ~7
    }
  }

  private mutating func add(_ type: UInt32, _ data: [UInt8], _ header: Header) throws(FormatError) {
    switch type {
    case HeaderExtension.backingFormatType:
      guard data.count < 16 else {
        throw FormatError(
          .backingFormatTooLong, "ERROR: ext_backing_format: len=\(data.count) too large (>=16)")
      }
      list.append(.backingFormat(ByteText.text(data)))
    case HeaderExtension.featureNamesType:
      list.append(.featureNames(FeatureName.parse(data)))
    case HeaderExtension.encryptionType:
      list.append(.encryption(try Self.encryption(data, header)))
    case HeaderExtension.bitmapsType:
      if let bitmaps = try Self.bitmaps(data, header) {
        list.append(.bitmaps(bitmaps))
      } else {
        hasStaleBitmaps = true
      }
    case HeaderExtension.dataFileNameType:
      list.append(.dataFileName(ByteText.text(data)))
    case HeaderExtension.pinType:
      if pin == nil, let value = PinExtension(data, header.geometry) {
        list.append(.pin(value))
      } else {
        list.append(.unknown(type: type, data: data))
      }
    case HeaderExtension.relocationType:
      if relocation == nil, let value = RelocationExtension(data) {
        list.append(.relocation(value))
      } else {
        list.append(.unknown(type: type, data: data))
      }
    default:
      list.append(.unknown(type: type, data: data))
    }
  }

  private static func encryption(
    _ data: [UInt8], _ header: Header
  ) throws(FormatError) -> EncryptionExtension {
    func refuse(_ text: String) -> FormatError { FormatError(.invalidEncryptionExtension, text) }
    guard header.cryptMethod == 2 else {
      throw refuse("CRYPTO header extension only expected with LUKS encryption method")
    }
    guard data.count == 16 else {
      throw refuse("CRYPTO header extension size \(data.count), but expected size 16")
    }
    let value = EncryptionExtension(offset: BigEndian.u64(data, 0), length: BigEndian.u64(data, 8))
    guard header.geometry.isAligned(value.offset) else {
      throw refuse(
        "Encryption header offset '\(value.offset)' is not a multiple of cluster size '\(header.geometry.clusterSize)'"
      )
    }
    return value
  }

  /// Returns nil for bitmaps that are stale; checks the others.
  private static func bitmaps(_ data: [UInt8], _ header: Header) throws(FormatError) -> BitmapsExtension? {
    func refuse(_ text: String) -> FormatError { FormatError(.invalidBitmapsExtension, text) }
    guard data.count == 24 else { throw refuse("bitmaps_ext: Invalid extension length") }
    guard header.autoclear.contains(.bitmaps) else { return nil }
    guard BigEndian.u32(data, 4) == 0 else { throw refuse("bitmaps_ext: Reserved field is not zero") }
    let value = BitmapsExtension(
      count: BigEndian.u32(data, 0), directorySize: BigEndian.u64(data, 8),
      directoryOffset: BigEndian.u64(data, 16))
    guard value.count <= 65535 else {
      throw refuse(
        "bitmaps_ext: Image has \(value.count) bitmaps, exceeding the QEMU supported maximum of 65535")
    }
    guard value.count > 0 else { throw refuse("found bitmaps extension with zero bitmaps") }
    guard header.geometry.isAligned(value.directoryOffset) else {
      throw refuse("bitmaps_ext: invalid bitmap directory offset")
    }
    guard value.directorySize <= 1024 * 65535 else {
      throw refuse(
        "bitmaps_ext: bitmap directory size (\(value.directorySize)) exceeds the maximum supported size (\(1024 * 65535))"
      )
    }
    return value
  }
}

extension Header {
  /// The whole of cluster 0: fields, extensions in their fixed order, end marker, backing name.
  ///
  /// Sets the place of the backing file name in the returned bytes and in `self`. Unknown
  /// extensions come out in reverse, as QEMU does at every rewrite.
  ///
  /// - Throws: ``FormatError`` if header, extensions and name do not fit into the first cluster.
  package mutating func encodeCluster(
    extensions: HeaderExtensions, backingName: String?
  ) throws(FormatError) -> [UInt8] {
    var tail: [UInt8] = []
    func add(_ type: UInt32, _ data: [UInt8]) {
      BigEndian.append(UInt64(type), width: 4, to: &tail)
      BigEndian.append(UInt64(data.count), width: 4, to: &tail)
      tail += data
      tail.append(contentsOf: repeatElement(0, count: (8 - data.count % 8) % 8))
    }
    if let name = extensions.backingFormat { add(HeaderExtension.backingFormatType, ByteText.bytes(name)) }
    if let name = extensions.dataFileName { add(HeaderExtension.dataFileNameType, ByteText.bytes(name)) }
    if let value = extensions.encryption {
      var data: [UInt8] = []
      BigEndian.append(value.offset, width: 8, to: &data)
      BigEndian.append(value.length, width: 8, to: &data)
      add(HeaderExtension.encryptionType, data)
    }
    if version >= 3 && clusterBits > 12 {
      let names = FeatureName.standard + (extensions.pin == nil ? [] : [FeatureName.pinned])
      add(HeaderExtension.featureNamesType, FeatureName.encode(names))
    }
    if let value = extensions.bitmaps {
      var data: [UInt8] = []
      BigEndian.append(UInt64(value.count), width: 4, to: &data)
      BigEndian.append(0, width: 4, to: &data)
      BigEndian.append(value.directorySize, width: 8, to: &data)
      BigEndian.append(value.directoryOffset, width: 8, to: &data)
      add(HeaderExtension.bitmapsType, data)
    }
    if let value = extensions.pin { add(HeaderExtension.pinType, value.encoded) }
    if let value = extensions.relocation { add(HeaderExtension.relocationType, value.encoded) }
    for case .unknown(let type, let data) in extensions.list.reversed() { add(type, data) }
    add(HeaderExtension.endType, [])

    headerLength = UInt32(version < 3 ? Self.version2Length : Self.version3Length + unknownFields.count)
    let name = ByteText.bytes(backingName ?? "")
    let nameStart = Int(headerLength) + tail.count
    backingFileOffset = name.isEmpty ? 0 : UInt64(nameStart)
    backingFileSize = UInt32(name.count)
    var cluster = encodedFields() + tail + name
    let clusterSize = 1 << Int(clusterBits)
    guard cluster.count <= clusterSize, name.count <= 1023 else {
      throw FormatError(.headerFull, "no space left in the file header")
    }
    cluster.append(contentsOf: repeatElement(0, count: clusterSize - cluster.count))
    return cluster
  }
}
