// Package protofuzz makes messages of the bytes that a fuzz target is given, for
// tests of code that must stand any message of its type. A fuzzer that changes
// encoded messages mostly makes bytes that are none; here every input is one. It
// must not know what the messages are about.
package protofuzz

import (
	"math"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// maxDepth bounds how deep messages are nested.
const maxDepth = 6

// Source hands out the bytes of an input. Once they are used up, all that it
// draws is zero or unset.
type Source struct {
	data  []byte
	words []string
}

// New returns a source of the data. Strings and byte fields are drawn from the
// words mostly, so that messages speak of the same things.
func New(data []byte, words ...string) *Source {
	return &Source{data: data, words: append(words[:len(words):len(words)], "")}
}

// Empty reports whether all bytes have been used.
func (s *Source) Empty() bool { return len(s.data) == 0 }

// Intn draws a number from 0 to n-1; n is at most 256.
func (s *Source) Intn(n int) int {
	if s.Empty() {
		return 0
	}
	b := s.data[0]
	s.data = s.data[1:]
	return int(b) % n
}

// Word draws one of the words, or a few bytes as they are.
func (s *Source) Word() string {
	if i := s.Intn(len(s.words) + 1); i < len(s.words) {
		return s.words[i]
	}
	n := min(s.Intn(16), len(s.data))
	raw := string(s.data[:n])
	s.data = s.data[n:]
	return raw
}

// Number draws a number: mostly a small one, sometimes the least or the largest.
func (s *Source) Number() uint64 {
	switch kind := s.Intn(12); kind {
	case 8:
		return math.MaxUint64
	case 9:
		return math.MaxInt64
	case 10:
		return 1_700_000_000 // seconds: a time of today
	case 11:
		var n uint64
		for range 8 {
			n = n<<8 | uint64(s.Intn(256))
		}
		return n
	default:
		return uint64(kind)
	}
}

// Fill sets fields of the message.
func (s *Source) Fill(m proto.Message) { s.fill(m.ProtoReflect(), 0) }

func (s *Source) fill(m protoreflect.Message, depth int) {
	oneofs := m.Descriptor().Oneofs()
	for i := range oneofs.Len() {
		if fields := oneofs.Get(i).Fields(); !oneofs.Get(i).IsSynthetic() {
			s.set(m, fields.Get(s.Intn(fields.Len())), depth)
		}
	}
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		field := fields.Get(i)
		inOneof := field.ContainingOneof() != nil && !field.ContainingOneof().IsSynthetic()
		if !s.Empty() && !inOneof && s.Intn(4) != 0 {
			s.set(m, field, depth)
		}
	}
}

func (s *Source) set(m protoreflect.Message, field protoreflect.FieldDescriptor, depth int) {
	switch {
	case field.IsList():
		list := m.Mutable(field).List()
		for range s.Intn(4) {
			v := list.NewElement()
			if !s.message(v, field, depth) {
				v = s.scalar(field)
			}
			list.Append(v)
		}
	case field.IsMap():
		entries := m.Mutable(field).Map()
		for range s.Intn(3) {
			key := s.scalar(field.MapKey()).MapKey()
			v := entries.NewValue()
			if !s.message(v, field.MapValue(), depth) {
				v = s.scalar(field.MapValue())
			}
			entries.Set(key, v)
		}
	case field.Message() != nil:
		s.message(m.Mutable(field), field, depth)
	default:
		m.Set(field, s.scalar(field))
	}
}

// message fills v if it is a message.
func (s *Source) message(v protoreflect.Value, field protoreflect.FieldDescriptor, depth int) bool {
	if field.Message() == nil {
		return false
	}
	if depth < maxDepth {
		s.fill(v.Message(), depth+1)
	}
	return true
}

func (s *Source) scalar(field protoreflect.FieldDescriptor) protoreflect.Value {
	switch field.Kind() {
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(s.Intn(2) == 1)
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(protoreflect.EnumNumber(s.Intn(field.Enum().Values().Len() + 1)))
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(clean(s.Word()))
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes([]byte(s.Word()))
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		return protoreflect.ValueOfInt32(int32(s.Number()))
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		return protoreflect.ValueOfInt64(int64(s.Number()))
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return protoreflect.ValueOfUint32(uint32(s.Number()))
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return protoreflect.ValueOfUint64(s.Number())
	case protoreflect.FloatKind:
		return protoreflect.ValueOfFloat32(math.Float32frombits(uint32(s.Number())))
	default:
		return protoreflect.ValueOfFloat64(math.Float64frombits(s.Number()))
	}
}

// clean makes a string one that can be sent: decoders refuse what is not UTF-8.
func clean(word string) string { return string([]rune(word)) }
