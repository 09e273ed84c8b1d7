// Files as they were at one moment, and what queries say of them.

import Cartography
import Glibc
import Qcow
import QcowFormat
import Storage
import ToolText

/// The files of a lesson behind an operation.
package final class LessonMoment {
  package let bench: Workbench
  /// The file that is explored.
  package let current: String
  /// What the last operation said: "ok", or why it failed.
  package let outcome: String
  /// Does the last operation once more and notes what it writes; nil where there is none.
  private let record: (() throws(LessonProblem) -> StepRecord)?
  private var recorded: StepRecord?
  /// The moment before the operations of the step.
  package let before: LessonMoment?
  /// The moments behind each operation of the step.
  private let steps: [LessonMoment]

  private var checks: [String: (result: CheckResult?, lines: [String])] = [:]
  private var opened: [String: Image?] = [:]
  private var owners: [String: OwnerNames] = [:]

  package init(
    _ bench: Workbench, current: String, outcome: String = "ok", before: LessonMoment? = nil,
    steps: [LessonMoment] = [], record: (() throws(LessonProblem) -> StepRecord)? = nil
  ) {
    self.bench = bench
    self.current = current
    self.outcome = outcome
    self.record = record
    self.before = before
    self.steps = steps
  }

  /// The value of a query.
  ///
  /// - Throws: ``LessonProblem`` for what has no value here: a file that is not there, a number of something that
  ///   has none.
  package func value(_ query: Query) throws(LessonProblem) -> QueryValue {
    guard query.terms.count > 1 else { return try value(query.terms[0]) }
    var total: Int64 = 0
    for term in query.terms {
      guard let number = try value(term).number, let signed = Int64(exactly: number) else {
        throw LessonProblem("'\(query.text)' is no sum of numbers")
      }
      let (sum, overflow) =
        term.isTakenAway ? total.subtractingReportingOverflow(signed) : total.addingReportingOverflow(signed)
      guard !overflow else { throw LessonProblem("'\(query.text)' is too large") }
      total = sum
    }
    return total < 0 ? .negative(total.magnitude) : .number(UInt64(total))
  }

  /// Whether a fact holds; `version` is that of the genuine tools that the fact is asked for.
  ///
  /// - Throws: ``LessonProblem`` for a query without a value.
  package func holds(_ fact: Lesson.Fact, version: Int? = nil) throws(LessonProblem) -> Bool {
    try value(fact.query).agrees(fact.relation, fact.value(for: version))
  }

  /// What the last operation wrote; nil if there was none, or none that is recorded.
  ///
  /// - Throws: ``LessonProblem`` if it cannot be done again.
  package func stepRecord() throws(LessonProblem) -> StepRecord? {
    guard let record else { return nil }
    if recorded == nil { recorded = try record() }
    return recorded
  }

  private func value(_ term: Query.Term) throws(LessonProblem) -> QueryValue {
    if term.isBefore {
      guard let before else { throw LessonProblem("there is nothing before this") }
      var then = term
      then.isBefore = false
      return try before.value(then)
    }
    if let number = term.behind {
      guard steps.indices.contains(number - 1) else {
        throw LessonProblem("the step has no operation \(number)")
      }
      var then = term
      then.behind = nil
      return try steps[number - 1].value(then)
    }
    let name = term.file ?? current
    switch term.form {
    case .number: return .number(term.numbers[0])
    case .out: return .words(outcome)
    case .length: return .number(try bench.file(name).length)
    case .blocks:
      let file = try bench.file(name)
      return .number(file.keptBytes(in: 0..<file.length) ?? file.allocatedBytes)
    case .read: return try read(name, term.numbers[0], term.numbers[1])
    case .check, .checkExit, .lines, .line, .end, .frag, .allocated: return try checked(term, name)
    case .measure: return try measure(term)
    case .u8: return try digits(name, term.numbers[0], 1)
    case .u16: return try digits(name, term.numbers[0], 2)
    case .u32: return try digits(name, term.numbers[0], 4)
    case .u64: return .entry(try bytes(name).word(term.numbers[0]))
    case .bytes: return try digits(name, term.numbers[0], term.numbers[1])
    case .layer, .map: return try mapped(term, name)
    case _ where term.form.isOfStep:
      guard let known = try stepRecord() else {
        throw LessonProblem("nobody knows what the last operation wrote")
      }
      return try known.value(term)
    default:
      let image = try bytes(name)
      if let value = try image.value(term) { return value }
      return try opened(term, name, image)
    }
  }

  // MARK: Files

  private func bytes(_ name: String) throws(LessonProblem) -> ImageBytes {
    guard let image = ImageBytes(try bench.file(name)) else { throw LessonProblem("\(name) is no image") }
    return image
  }

  private func digits(_ name: String, _ offset: UInt64, _ count: UInt64) throws(LessonProblem) -> QueryValue {
    guard count <= 4096 else { throw LessonProblem("more than 4096 bytes are not shown") }
    let file = try bench.file(name)
    let there = file.length > offset ? min(count, file.length - offset) : 0
    let read = (try? file.bytes(at: offset, count: Int(there))) ?? []
    let all = read + [UInt8](repeating: 0, count: Int(count) - read.count)
    return .digits(all.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined())
  }

  /// A file opened for looking; nil if it cannot be.
  private func image(_ name: String) throws(LessonProblem) -> Image? {
    if let known = opened[name] { return known }
    let image = try bench.look(name)
    opened[name] = image
    return image
  }

  private func layer(_ name: String) throws(LessonProblem) -> any GuestLayer {
    let file = try bench.file(name)
    guard ImageBytes(file) != nil else { return RawLayer(file) }
    guard let image = try image(name) else { throw LessonProblem("\(name) cannot be opened") }
    return image
  }

  /// The one byte that a range of the disk holds, "mixed", or why it cannot be read.
  private func read(_ name: String, _ start: UInt64, _ count: UInt64) throws(LessonProblem) -> QueryValue {
    guard count > 0, count <= 16 << 20 else { throw LessonProblem("a read of 1 byte to 16 MiB") }
    let disk: any GuestLayer
    do throws(LessonProblem) { disk = try layer(name) } catch { return .words(error.reason) }
    guard start <= disk.virtualSize, count <= disk.virtualSize - start else {
      throw LessonProblem("\(name) has no bytes there")
    }
    let piece = UnsafeMutableRawBufferPointer.allocate(byteCount: 65536, alignment: 16)
    defer { unsafe piece.deallocate() }
    var byte: UInt8?
    var done: UInt64 = 0
    while done < count {
      let part = unsafe UnsafeMutableRawBufferPointer(rebasing: piece[..<Int(min(65536, count - done))])
      do throws(ImageError) {
        if let image = disk as? Image {
          unsafe try image.read(at: GuestOffset(start + done), into: part)
        } else {
          unsafe try disk.readLayer(at: GuestOffset(start + done), into: part)
        }
      } catch { return .words(FileStorage.reason(error.errno != 0 ? error.errno : EIO)) }
      for index in 0..<part.count {
        let next = unsafe part[index]
        let first = byte ?? next
        guard next == first else { return .words("mixed") }
        byte = first
      }
      done += UInt64(part.count)
    }
    return .byte(byte ?? 0)
  }

  // MARK: Checks

  private func check(_ name: String) throws(LessonProblem) -> (result: CheckResult?, lines: [String]) {
    if let known = checks[name] { return known }
    let file = try bench.file(name)
    var lines: [String] = []
    var result: CheckResult?
    if let check = try? ImageCheck(
      file,
      report: { finding in
        guard lines.count < 100_000 else { return }
        lines += CheckText.lines(of: finding, program: "qemu-img").split(separator: "\n").map(String.init)
      })
    {
      result = check.run()
    }
    checks[name] = (result, lines)
    return (result, lines)
  }

  private func checked(_ term: Query.Term, _ name: String) throws(LessonProblem) -> QueryValue {
    let (result, lines) = try check(name)
    switch term.form {
    case .check: return .words(Self.summary(result))
    case .checkExit: return .number(UInt64(max(0, result.map(CheckText.exitCode) ?? 1)))
    case .lines: return .number(UInt64(lines.count))
    case .line:
      let index = Int(clamping: term.numbers[0])
      return .words(index >= 1 && index <= lines.count ? lines[index - 1] : "")
    case .end: return .number(result?.imageEndOffset ?? 0)
    case .allocated: return .number(result?.allocatedClusters ?? 0)
    default: return .number(result?.fragmentedClusters ?? 0)
    }
  }

  /// "clean", or how many errors and leaks.
  static func summary(_ result: CheckResult?) -> String {
    guard let result, result.failure == nil else { return "cannot be checked" }
    var parts: [String] = []
    if result.corruptions > 0 { parts.append("errors \(result.corruptions)") }
    if result.leaks > 0 { parts.append("leaks \(result.leaks)") }
    return parts.isEmpty ? "clean" : parts.joined(separator: " ")
  }

  // MARK: What needs more than the bytes of one file

  private func mapped(_ term: Query.Term, _ name: String) throws(LessonProblem) -> QueryValue {
    let disk = try layer(name)
    let layers = disk.layers
    let size = (disk as? Image)?.geometry.clusterSize ?? 65536
    var walk = ChainWalk(layers)
    let extent: Extent
    do throws(ImageError) {
      let (start, overflow) = term.numbers[0].multipliedReportingOverflow(by: size)
      guard !overflow, start < disk.virtualSize else { throw ImageError(.invalidRequest, "behind the disk") }
      extent = try walk.extent(at: start, limit: size)
    } catch { throw LessonProblem(error.description) }
    if term.form == .layer {
      return .words(extent.isPresent ? walk.fileNames[extent.depth] : "nobody")
    }
    let words = [
      (extent.isPresent, "present"), (extent.isZero, "zero"), (extent.isData, "data"),
      (extent.isCompressed, "compressed"),
    ].filter(\.0).map(\.1)
    return .words(words.isEmpty ? "nothing" : words.joined(separator: " "))
  }

  private func measure(_ term: Query.Term) throws(LessonProblem) -> QueryValue {
    do throws(CreateRequest.Refusal) {
      let request = try MeasureRequest(format: "qcow2", lists: term.word.map { [$0] } ?? [])
      guard let options = request.options else { throw CreateRequest.Refusal("no such format") }
      do throws(ImageError) {
        let measure = try Measure(options, size: ByteCount(term.numbers[0]))
        return .numbers([measure.required, measure.fullyAllocated])
      } catch { throw CreateRequest.Refusal(error.description) }
    } catch { throw LessonProblem(error.description) }
  }

  private func opened(_ term: Query.Term, _ name: String, _ bytes: ImageBytes) throws(LessonProblem)
    -> QueryValue
  {
    guard let image = try image(name) else { throw LessonProblem("\(name) cannot be opened") }
    switch term.form {
    case .owner:
      let cluster = HostCluster(term.numbers[0])
      let list = names(image, name).all(of: cluster)
      if !list.isEmpty { return .words(list.joined(separator: ", ")) }
      return .words(bytes.refcount(cluster) > 0 ? "leaked" : "free")
    case .alone: return .number(names(image, name).bytesAlone(term.word ?? ""))
    case .pin:
      switch image.pinState {
      case .none: return .words("none")
      case .kept: return .words("verified")
      default: return .words("unverified")
      }
    case .bitmaps: return .number(UInt64(BitmapPlaces(image).places.count))
    case .bitmapsAt: return .address(BitmapPlaces(image).directory?.lowerBound.value ?? 0)
    default:
      guard let place = BitmapPlaces(image).places.first(where: { $0.entry.name == term.word }) else {
        throw LessonProblem("there is no bitmap '\(term.word ?? "")'")
      }
      return .init(bitmap: place.entry, term, bytes)
    }
  }

  private func names(_ image: Image, _ name: String) -> OwnerNames {
    if let known = owners[name] { return known }
    let made = OwnerNames(image)
    owners[name] = made
    return made
  }
}

extension QueryValue {
  /// What is asked of a bitmap.
  fileprivate init(bitmap: BitmapDirectoryEntry, _ term: Query.Term, _ bytes: ImageBytes) {
    let first = BitmapTableEntry(bytes.word(bitmap.tableOffset.value)).cluster
    switch term.form {
    case .dirtyTable: self = .address(bitmap.tableOffset.value)
    case .dirtyHost: self = .address(first?.value ?? 0)
    case .dirtyBit: self = .number(term.numbers[0] / bitmap.granularity)
    case .dirtyFlags:
      let words = [(bitmap.isInUse, "in-use"), (bitmap.recordsWrites, "auto")].filter(\.0).map(\.1)
      self = .words(words.isEmpty ? "none" : words.joined(separator: " "))
    default:
      let bits = first.map { bytes.bytes($0.value, Int(bytes.geometry.clusterSize)) } ?? []
      let set = bits.enumerated().lazy.filter { $0.element != 0 }.flatMap { index, byte in
        (0..<8).filter { byte >> $0 & 1 != 0 }.map { index * 8 + $0 }
      }
      let words = set.prefix(256).map { "\($0)" }.joined(separator: " ")
      self = .words(words.isEmpty ? "none" : words)
    }
  }
}

extension ImageBytes {
  /// What the bytes of the tables alone say; nil for what they do not.
  fileprivate func value(_ term: Query.Term) throws(LessonProblem) -> QueryValue? {
    var l1 = active
    if let name = term.snapshot {
      guard let snapshot = snapshots.first(where: { $0.name == name }) else {
        throw LessonProblem("there is no snapshot '\(name)'")
      }
      l1 = L1(offset: snapshot.l1TableOffset, count: UInt64(snapshot.l1Size))
    }
    let number = term.numbers.first ?? 0
    let cluster = GuestCluster(number)
    let guest = GuestOffset(number)
    switch term.form {
    case .l1: return .entry(l1Entry(number, l1).raw)
    case .l1Cluster:
      return .number(geometry.cluster(of: l1Entry(number, l1).table ?? HostOffset(0)).value)
    case .l1Range: return .numbers([number &* geometry.bytesPerL2Table, geometry.bytesPerL2Table])
    case .l1Host: return .address(l1Entry(number, l1).table?.value ?? 0)
    case .l1At: return .address(l1.offset &+ UInt64(geometry.l1Index(of: guest)) &* 8)
    case .l1Index: return .number(UInt64(geometry.l1Index(of: guest)))
    case .l1Span: return .number(geometry.bytesPerL2Table)
    case .l1Start: return .address(number &* geometry.bytesPerL2Table)
    case .l2: return .entry(entry(cluster, l1).descriptor)
    case .l2Cluster:
      let offset = field(entry(cluster, l1).descriptor, .l2Host).number ?? 0
      return .number(geometry.cluster(of: HostOffset(offset)).value)
    case .l2Entries: return .number(UInt64(geometry.l2EntriesPerTable))
    case .split:
      return .numbers([
        UInt64(geometry.l1Index(of: guest)), UInt64(geometry.l2Index(of: guest)),
        geometry.offsetInCluster(number),
      ])
    case .clusters:
      return .numbers(
        (number...term.numbers[1]).map { index in
          let offset = field(entry(GuestCluster(index), l1).descriptor, .l2Host).number ?? 0
          return geometry.cluster(of: HostOffset(offset)).value
        })
    case .headerBits:
      return .numbers([header.incompatible.rawValue, header.compatible.rawValue, header.autoclear.rawValue])
    case .l2Host, .l2Sectors, .l2Bytes: return field(entry(cluster, l1).descriptor, term.form)
    case .entryHost, .entrySectors, .entryBytes: return field(number, term.form)
    case .l2Index: return .number(UInt64(geometry.l2Index(of: guest)))
    case .l2At:
      return entryOffset(geometry.cluster(of: guest), l1).map { .address($0) } ?? .words("none")
    case .host:
      let entry = entry(geometry.cluster(of: guest), l1)
      guard !["unallocated", "zero-plain", "compressed"].contains(kind(entry)) else { return .words("none") }
      return .address(entry.offsetBits &+ geometry.offsetInCluster(number))
    case .lookup, .lookupReads:
      let first = l1.offset &+ UInt64(geometry.l1Index(of: guest)) &* 8
      let way = [first] + [entryOffset(geometry.cluster(of: guest), l1)].compactMap { $0 }
      return term.form == .lookup ? .addresses(way) : .number(UInt64(way.count))
    case .bitmap: return .entry(entry(cluster, l1).bitmap.raw)
    case .type: return .words(kind(entry(cluster, l1)))
    case .subclusterType: return .words(kind(entry(cluster, l1), subcluster: Int(clamping: term.numbers[1])))
    case .refcount: return .number(refcount(HostCluster(number)))
    case .refcounts: return .numbers((number...term.numbers[1]).map { refcount(HostCluster($0)) })
    case .refcountAt: return .address(refcountOffset(HostCluster(number)) ?? 0)
    case .refcountSpan: return .number(geometry.refcountsPerBlock)
    case .free:
      let clusters = geometry.clustersCovering(storage.length)
      guard clusters < 1 << 20 else { throw LessonProblem("the file is too long to count its free clusters") }
      return .number((0..<clusters).reduce(0) { refcount(HostCluster($1)) == 0 ? $0 + 1 : $0 })
    case .snapshots: return .number(UInt64(header.snapshotCount))
    case .snapshotNames:
      let names = snapshots.map { $0.name.isEmpty ? "-" : $0.name }
      return .words(names.isEmpty ? "none" : names.joined(separator: " "))
    case .cache: return .number(geometry.clustersCovering(number) &* UInt64(geometry.l2EntrySize))
    case .header: return HeaderFieldName(rawValue: term.word ?? "").map(field)
    default: return nil
    }
  }

  /// Parts of an entry: its host offset, or those of a compressed one.
  private func field(_ descriptor: UInt64, _ form: Query.Form) -> QueryValue {
    let entry = L2Entry(descriptor: descriptor)
    guard entry.isCompressed else {
      return form == .l2Host || form == .entryHost ? .address(entry.offsetBits) : .number(0)
    }
    let extent = geometry.compressedExtent(of: descriptor)
    switch form {
    case .l2Host, .entryHost: return .address(extent.offset.value)
    case .l2Bytes, .entryBytes: return .number(extent.byteCount)
    default: return .number((extent.byteCount + extent.offset.value % 512) / 512)
    }
  }

  private func field(_ name: HeaderFieldName) -> QueryValue {
    switch name {
    case .version: .number(UInt64(header.version))
    case .size: .number(geometry.virtualSize)
    case .incompatible: .number(header.incompatible.rawValue)
    case .compatible: .number(header.compatible.rawValue)
    case .autoclear: .number(header.autoclear.rawValue)
    case .clusterBits: .number(UInt64(geometry.clusterBits))
    case .l1Size: .number(UInt64(header.l1Size))
    case .l1Offset: .address(header.l1TableOffset)
    case .table: .address(header.refcountTableOffset)
    case .tableClusters: .number(UInt64(header.refcountTableClusters))
    case .snapshots: .number(UInt64(header.snapshotCount))
    case .snapshotsOffset: .address(header.snapshotsOffset)
    case .headerLength: .number(UInt64(header.headerLength))
    case .order: .number(UInt64(geometry.refcountOrder))
    }
  }
}
