// "Where is it?" as `qatlas where` prints it: the way from a byte of the disk to the byte of a file, or back, one
// record per step. The values and the words are those of the pane of the same name.

package import Cartography
import Qcow
package import QcowFormat
import Storage

/// One place of an image whose atlas is complete, as text or JSON.
package struct WhereText {
  private let place: Place
  private let words: PlaceWords
  private let atlas: Atlas
  private let owners: OwnerList?
  private let labels: GuestLabels
  private var image: Image { atlas.image }

  /// A byte of the disk, with the labels that there are.
  package init(guest: GuestOffset, in atlas: Atlas, labels: GuestLabels = GuestLabels([])) {
    let place = Place.guest(guest, in: atlas)
    let cluster = place.hostRange.map { atlas.image.geometry.cluster(of: $0.lowerBound) }
    // The owners of a cluster of the external data file are the entries of the way alone.
    let isElsewhere = place.isInDataFile || atlas.image.hasExternalData
    self.init(place, atlas, isElsewhere ? nil : cluster.map(OwnersText.owners(atlas).completeList), labels)
  }

  /// A byte of the image file.
  package init(host: HostOffset, in atlas: Atlas, labels: GuestLabels = GuestLabels([])) {
    let owners = OwnersText.owners(atlas)
    let list = owners.completeList(of: atlas.image.geometry.cluster(of: host))
    self.init(Place.host(host, in: owners), atlas, list, labels)
  }

  private init(_ place: Place, _ atlas: Atlas, _ owners: OwnerList?, _ labels: GuestLabels) {
    self.place = place
    self.labels = labels
    self.atlas = atlas
    self.owners = owners
    words = PlaceWords(place, of: atlas.image)
  }

  /// Prints the place, for people or as one JSON object.
  package func write(json: Bool, output: @escaping (String) -> Void) {
    var stream = ReportStream(json: json, output: output)
    stream.open("{")
    for step in steps {
      stream.add(step.name, step.value)
      stream.line(step.name + "  " + step.value.humanLine)
    }
    if let owners {
      stream.open("[", "owners")
      let bitmaps = BitmapPlaces(image)
      for owner in owners.owners where !owner.isRemark {
        let record = ReportValue.object(OwnersText.record(owner, image, bitmaps))
        stream.add(nil, record)
        stream.line("owner  " + record.humanLine)
      }
      stream.close("]")
    }
    let named = place.guest.map { labels.labels(at: $0.value) } ?? []
    if !named.isEmpty {
      stream.open("[", "labels")
      for label in named {
        stream.add(
          nil,
          .object([
            Field("name", .string(label.name)), Field("offset", .offset(label.range.lowerBound)),
            Field("length", .number(label.range.upperBound - label.range.lowerBound)),
          ]))
        stream.line("label  \(label.words)")
      }
      stream.close("]")
    }
    stream.open("[", "problems")
    for remark in remarks {
      stream.add(nil, .string(remark.text))
      stream.line("\(remark.label)  \(Escaping.human(remark.text))")
    }
    stream.close("]")
    stream.close("}\n")
  }

  // MARK: The steps

  /// The steps of the way that exist for this place, from the disk to the file.
  private var steps: [Field] {
    var steps: [Field] = []
    func add(_ name: String, _ fields: [Field]) {
      if !fields.isEmpty { steps.append(Field(name, .object(fields))) }
    }
    add("guest", guest)
    if let step = place.l1, let meaning = words.l1 {
      add(
        "l1",
        entry(step.index, step.address, step.entry.raw, step.entry.isCopied, meaning, step.targetRefcount))
    }
    if let step = place.l2, let meaning = words.l2 {
      add(
        "l2",
        entry(
          step.index, step.address, step.entry.descriptor, step.entry.isCopied, meaning, step.targetRefcount))
    }
    add("subclusters", subclusters)
    add("host", host)
    add("read", read)
    return steps
  }

  private var guest: [Field] {
    guard let guest = place.guest else { return [] }
    var fields = [Field("offset", .offset(guest.value))]
    if let cluster = place.cluster { fields.append(Field("cluster", .number(cluster.value))) }
    fields.append(Field("byte", .number(place.byteInCluster)))
    if let state = place.state { fields.append(Field("state", .string(Legend.guest(state).name))) }
    if let state = words.state {
      let count = state.of > 1 ? "\(state.count) of \(state.of) subclusters: " : ""
      fields.append(Field("text", .string(count + state.word)))
    }
    return fields
  }

  private func entry(
    _ index: Int, _ address: HostOffset, _ raw: UInt64, _ isCopied: Bool, _ meaning: PlaceWords.Meaning,
    _ refcount: UInt64?
  ) -> [Field] {
    var fields = [
      Field("index", .number(UInt64(index))), Field("at", .offset(address.value)),
      Field("entry", .entry(raw)), Field("kind", .string(meaning.kind)), Field("copied", .bool(isCopied)),
    ]
    var text = meaning.sharing
    switch meaning.target {
    case .cluster(let host), .reserved(let host): fields.append(Field("host", .offset(host.value)))
    case .stream(let host, let count):
      fields += [Field("host", .offset(host.value)), Field("length", .number(count))]
    case .nothing(let words): text = words
    }
    if let refcount { fields.append(Field("refcount", .number(refcount))) }
    if !text.isEmpty { fields.append(Field("text", .string(text))) }
    return fields
  }

  private var subclusters: [Field] {
    guard place.subclusters.count > 1 else { return [] }
    var fields: [Field] = []
    if let address = place.bitmapAddress { fields.append(Field("at", .offset(address.value))) }
    if let bitmap = place.l2?.entry.bitmap {
      fields += [Field("zero", .bits(bitmap.zero)), Field("alloc", .bits(bitmap.allocated))]
    }
    var letters = ""
    for state in place.subclusters { letters.unicodeScalars.append(Legend.guest(state).letter) }
    fields += [Field("index", .number(UInt64(place.subcluster))), Field("states", .string(letters))]
    return fields
  }

  private var host: [Field] {
    guard let host = place.host, let range = place.hostRange else { return [] }
    let data = image.dataStorage?.name ?? image.extensions.dataFileName ?? ""
    var fields = [
      Field("offset", .offset(host.value)), Field("start", .offset(range.lowerBound.value)),
      Field("length", .number(range.upperBound - range.lowerBound)),
      Field("file", .string(place.isInDataFile ? data : image.storage.name)),
      Field("layer", .number(0)), Field("layers", .number(UInt64(place.layerCount))),
    ]
    if let facts = owners?.facts {
      fields.append(Field("state", .string(Legend.host(facts.state).name)))
      if facts.health != .sound { fields.append(Field("health", .string(facts.health.name))) }
    }
    if let refcount = place.refcount { fields.append(Field("refcount", .number(refcount))) }
    if let next = words.next() { fields.append(Field("next", .string(next))) }
    if !place.bytes.isEmpty {
      let bytes = place.bytes.map { Notation.hex(UInt64($0), width: 2) }.joined()
      fields.append(Field("bytes", .string(bytes)))
    }
    return fields
  }

  /// Who answers, and what that costs.
  private var read: [Field] {
    guard let guest = place.guest, let path = ReadPath(guest, in: image) else { return [] }
    var fields = [
      Field("from", .string(path.source.rawValue)), Field("layer", .number(UInt64(path.depth))),
      Field("file", .string(path.file)),
    ]
    if let offset = path.offset { fields.append(Field("offset", .offset(offset.value))) }
    fields += [
      Field("tables", .number(UInt64(path.tables))), Field("bytes", .number(path.bytes)),
      Field("unpacked", .number(path.unpacked)), Field("text", .string(path.text)),
    ]
    return fields
  }

  /// What is wrong there, and what is not known.
  private var remarks: [PlaceWords.Remark] {
    var remarks = words.conflicts
    if let health = words.health(atlas.staleness) { remarks.append(health) }
    if let problem = words.problem { remarks.append(problem) }
    return remarks
  }
}
