// All owners of one host cluster as `qatlas owners` prints them: what the cluster is, then one record per
// owner, up to a bound that keeps hostile images from filling memory.

package import Cartography
import Qcow
package import QcowFormat
import Storage

/// Prints who uses a host cluster of an image whose atlas is complete.
package struct OwnersText {
  /// More owners than this are counted and not named.
  static let maximumOwners = 1 << 16

  private let atlas: Atlas
  private var stream: ReportStream

  /// Prints to `output`; the atlas is complete.
  package init(_ atlas: Atlas, json: Bool, output: @escaping (String) -> Void) {
    self.atlas = atlas
    stream = ReportStream(json: json, output: output)
  }

  /// Who looks owners up for a listing.
  static func owners(_ atlas: Atlas) -> Owners {
    Owners(atlas, maximumOwners: maximumOwners, maximumSnapshots: 1 << 16)
  }

  /// Prints the owners of the cluster that the byte at `offset` lies in.
  package mutating func write(_ offset: HostOffset) {
    let geometry = atlas.image.geometry
    let cluster = geometry.cluster(of: offset)
    let list = Self.owners(atlas).completeList(of: cluster)
    let named = list.owners.filter { !$0.isRemark }
    let count = max(list.ownerCount, UInt64(named.count))
    var head = [
      Field("host", .offset(geometry.start(of: cluster).value)),
      Field("length", .number(geometry.clusterSize)),
      Field("state", .string(Legend.host(list.state).name)),
    ]
    if let facts = list.facts, facts.health != .sound {
      head.append(Field("health", .string(facts.health.name)))
    }
    if let refcount = list.refcount { head.append(Field("refcount", .number(refcount))) }
    head.append(Field("owners", .number(count)))
    let rest = count - min(count, UInt64(named.count))
    if rest > 0 { head.append(Field("not named", .number(rest))) }
    stream.line(ReportValue.object(head).humanLine)
    stream.open("{", between: ", ")
    for field in head { stream.add(field.name, field.value) }
    stream.open("[", "list")
    let bitmaps = BitmapPlaces(atlas.image)
    for owner in named {
      stream.record(Self.record(owner, atlas.image, bitmaps))
    }
    stream.close("]")
    writeNeighbours(of: named.lazy.compactMap(\.guest).first)
    stream.close("}\n")
  }

  /// Where the clusters before and behind the first place on the disk lie.
  private mutating func writeNeighbours(of guest: GuestOffset?) {
    guard let guest else { return }
    stream.open("[", "neighbours")
    for neighbour in PlaceWords(.guest(guest, in: atlas), of: atlas.image).neighbours {
      var fields = [
        Field("which", .string(neighbour.label)), Field("guest", .offset(neighbour.guest.value)),
      ]
      if let host = neighbour.host { fields.append(Field("host", .offset(host.value))) }
      fields.append(Field("text", .string(neighbour.text)))
      stream.record(fields)
    }
    stream.close("]")
  }

  /// One owner: what it is, where it is told, and which place of the disk it stands for.
  static func record(_ owner: Owner, _ image: Image, _ bitmaps: BitmapPlaces) -> [Field] {
    let snapshots = image.snapshots
    var fields: [Field] = []
    func add(
      _ kind: String, _ l1: Int, _ l2: Int? = nil, guest: GuestOffset? = nil, snapshot: Int? = nil
    ) {
      fields.append(Field("kind", .string(kind)))
      if let snapshot, snapshots.indices.contains(snapshot) {
        fields.append(Field("snapshot", .string(snapshots[snapshot].id)))
      }
      fields.append(Field("l1", .number(UInt64(l1))))
      if let l2 { fields.append(Field("l2", .number(UInt64(l2)))) }
      if let guest {
        fields.append(Field("guest", .offset(guest.value)))
        fields.append(Field("length", .number(image.geometry.clusterSize)))
      }
    }
    switch owner {
    case .data(let l1, let l2, _, let guest): add("data", l1, l2, guest: guest)
    case .compressed(let l1, let l2, _, let guest): add("compressed", l1, l2, guest: guest)
    case .beyond(let l1, let l2, _): add("behind the disk", l1, l2)
    case .vmState(let snapshot, let l1, let l2, _): add("VM state", l1, l2, snapshot: snapshot)
    case .snapshotData(let snapshot, let l1, let l2, _, let guest):
      add("data", l1, l2, guest: guest, snapshot: snapshot)
    case .l2Table(let l1): add("L2 table", l1)
    case .snapshotL2(let snapshot, let l1): add("L2 table", l1, snapshot: snapshot)
    default: fields.append(Field("kind", .string("structure")))
    }
    if let entry = owner.entry(in: image, bitmaps) { fields.append(Field("entry", .offset(entry.value))) }
    fields.append(Field("text", .string(owner.text(snapshots: snapshots))))
    return fields
  }
}
