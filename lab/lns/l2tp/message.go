package l2tp

import "fmt"

// MessageType is the value of the Message Type AVP, RFC 2661 §3.2.
type MessageType uint16

// The message types that an LNS for incoming calls sends or understands.
const (
	SCCRQ   MessageType = 1
	SCCRP   MessageType = 2
	SCCCN   MessageType = 3
	StopCCN MessageType = 4
	Hello   MessageType = 6
	ICRQ    MessageType = 10
	ICRP    MessageType = 11
	ICCN    MessageType = 12
	CDN     MessageType = 14
)

func (m MessageType) String() string {
	switch m {
	case 0:
		return "ZLB"
	case SCCRQ:
		return "SCCRQ"
	case SCCRP:
		return "SCCRP"
	case SCCCN:
		return "SCCCN"
	case StopCCN:
		return "StopCCN"
	case Hello:
		return "Hello"
	case ICRQ:
		return "ICRQ"
	case ICRP:
		return "ICRP"
	case ICCN:
		return "ICCN"
	case CDN:
		return "CDN"
	}
	return fmt.Sprintf("message %d", uint16(m))
}

// known reports whether RFC 2661 has that type: 1 to 16 but for 5 and 13.
func (m MessageType) known() bool { return m >= SCCRQ && m <= 16 && m != 5 && m != 13 }

func (m MessageType) avp() AVP { return mandatory16(AVPMessageType, uint16(m)) }
